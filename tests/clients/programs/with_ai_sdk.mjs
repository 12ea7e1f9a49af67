// Vercel's AI SDK with both of its providers for OpenAI's protocol.
import fs from "node:fs";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage, generateText } from "ai";

globalThis.AI_SDK_LOG_WARNINGS = false;

const [baseURL, apiKey] = [process.env.OPENAI_BASE_URL, process.env.OPENAI_API_KEY];
const openai = createOpenAI({ baseURL, apiKey });
const easel = createOpenAICompatible({ name: "easel", baseURL, apiKey });
const pictures = (result) => result.images.map((image) => image.base64);

for (const [provider, models] of Object.entries({ openai, compatible: easel })) {
  const model = models.imageModel("easel");

  await step(`${provider}_draws_six`, async () =>
    pictures(await generateImage({ model, prompt: "a lake", n: 6, size: "256x256" })),
  );

  await step(`${provider}_edits`, async () => {
    const images = [fs.readFileSync(process.env.PHOTO)];
    return pictures(await generateImage({ model, prompt: { text: "at night", images } }));
  });

  await step(`${provider}_is_told_the_models`, () =>
    generateImage({ model: models.imageModel("stable-diffusion-9"), prompt: "a lake" }),
  );
}

await step("draws_sixteen_at_once", async () => {
  const one = { model: openai.imageModel("easel"), prompt: "a lake", size: "256x256" };
  const calls = Array.from({ length: 16 }, () => generateImage({ ...one, maxRetries: 0 }));
  return (await Promise.all(calls)).flatMap(pictures);
});

await step("draws_as_dall_e_3", async () => {
  const model = openai.image("dall-e-3");
  return pictures(await generateImage({ model, prompt: "a red fox", size: "1024x1024" }));
});

await step("draws_as_gpt_image_1", async () => {
  const model = openai.image("gpt-image-1");
  return pictures(await generateImage({ model, prompt: "a red fox", size: "1024x1536" }));
});

await step("draws_with_a_seed", async () => {
  const model = easel.imageModel("easel-free:anime");
  const providerOptions = { easel: { seed: 7, output_format: "webp" } };
  const one = { model, prompt: "a lake", size: "256x256", providerOptions };
  return [...pictures(await generateImage(one)), ...pictures(await generateImage(one))];
});

await step("chats", async () => {
  const { text } = await generateText({ model: easel("easel"), prompt: "Draw a red fox" });
  return text;
});
