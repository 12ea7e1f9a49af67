// OpenAI's client for Node, which finds address and key in OPENAI_BASE_URL and OPENAI_API_KEY.
import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const client = new OpenAI();
const pictures = (answer) => answer.data.map((item) => item.b64_json);

async function collected(events) {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
}

await step("draws_as_dall_e_3", async () => {
  const answer = await client.images.generate({ model: "dall-e-3", prompt: "a red fox" });
  return answer.data;
});

await step("draws_as_gpt_image_1", async () =>
  pictures(
    await client.images.generate({
      model: "gpt-image-1",
      prompt: "a red fox",
      size: "1024x1536",
      output_format: "webp",
    }),
  ),
);

await step("draws_six", async () =>
  pictures(await client.images.generate({ prompt: "a lake", n: 6, size: "256x256" })),
);

await step("draws_sixteen_at_once", async () => {
  const hasty = new OpenAI({ maxRetries: 0 });
  const calls = Array.from({ length: 16 }, () =>
    hasty.images.generate({ prompt: "a lake", size: "256x256", safety_identifier: "person-7" }),
  );
  return (await Promise.all(calls)).flatMap(pictures);
});

await step("edits_a_stream", async () => {
  const image = fs.createReadStream(process.env.PHOTO);
  return pictures(await client.images.edit({ model: "gpt-image-1", image, prompt: "at night" }));
});

await step("edits_a_list_of_one", async () => {
  const image = [await toFile(fs.readFileSync(process.env.PHOTO), "photo.png")];
  return pictures(await client.images.edit({ model: "easel", image, prompt: "at night" }));
});

await step("streams_partial_pictures", async () =>
  collected(
    await client.images.generate({
      prompt: "a mountain",
      size: "512x512",
      stream: true,
      partial_images: 2,
    }),
  ),
);

await step("streams_an_edit", async () =>
  collected(
    await client.images.edit({
      image: fs.createReadStream(process.env.PHOTO),
      prompt: "at night",
      size: "512x512",
      stream: true,
      partial_images: 2,
    }),
  ),
);

await step("chats_in_a_stream", async () => {
  const chunks = await client.chat.completions.create({
    model: "easel",
    messages: [{ role: "user", content: "Draw a red fox" }],
    stream: true,
  });
  return (await collected(chunks)).flatMap((chunk) => chunk.choices.map((c) => c.delta.content));
});

await step("is_told_that_the_key_is_wrong", () =>
  new OpenAI({ apiKey: "not-the-key" }).images.generate({ prompt: "a lake" }),
);

await step("is_told_the_models", () =>
  client.images.generate({ model: "stable-diffusion-9", prompt: "a lake" }),
);

await step("is_told_how_many", () => client.images.generate({ prompt: "a lake", n: 11 }));

await step("is_told_that_the_base_url_ends_in_v1", () =>
  new OpenAI({ baseURL: process.env.EASEL_URL }).images.generate({ prompt: "a lake" }),
);
