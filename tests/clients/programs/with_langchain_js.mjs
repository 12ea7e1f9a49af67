// LangChain's wrapper for DALL-E, which finds address and key as OpenAI's client does.
import { DallEAPIWrapper } from "@langchain/openai";

const baseUrl = process.env.OPENAI_BASE_URL;

async function fetched(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${answer.status} for ${url}`);
  return Buffer.from(await answer.arrayBuffer()).toString("base64");
}

await step("draws_as_its_default", async () =>
  fetched(await new DallEAPIWrapper({ baseUrl }).invoke("a red fox")),
);

await step("draws_six", async () => {
  const tool = new DallEAPIWrapper({ baseUrl, model: "easel", n: 6, size: "256x256" });
  const parts = await tool.invoke("a lake");
  return Promise.all(parts.map((part) => fetched(part.image_url)));
});

await step("is_told_the_models", () =>
  new DallEAPIWrapper({ baseUrl, model: "stable-diffusion-9" }).invoke("a lake"),
);
