// @hey-api/openapi-ts: generate a client from the document, check a program's types, run it.
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

const scratch = path.dirname(process.env.REPORT);
const tool = (name, ...options) =>
  execFileSync(path.resolve("node_modules/.bin", name), options, { encoding: "utf8", stdio: "pipe" });
const program = `
import { createClient } from './easel/client';
import { createGeneration, followGeneration, generate, generateImages, getImage, type Problem } from './easel';

const client = createClient({ baseUrl: process.env.EASEL_URL, auth: () => process.env.EASEL_KEY });
const fox = { mode: 'free', prompt: 'a red fox in snow', width: 256, height: 256 } as const;

export const draws = async (): Promise<string[]> => {
  const { data } = await generate({ client, body: fox, throwOnError: true });
  return data.images.map((image) => image.data);
};

export const redrawsAPhoto = async (image: string): Promise<string[]> => {
  const { data } = await generate({ client, body: { mode: 'restyle', image }, throwOnError: true });
  return data.images.map((each) => each.data);
};

export const followsAndFetches = async () => {
  const { data: accepted } = await createGeneration({ client, body: fox, throwOnError: true });
  const at = { client, path: { generation_id: accepted.id } };
  const stages: string[] = [];
  let status = '';
  const { stream } = await followGeneration(at);
  for await (const event of stream) {
    if (!event || typeof event === 'string') continue;
    if ('stage' in event) stages.push(event.stage ?? '');
    if ('status' in event) status = event.status;
  }
  const { data: image } = await getImage({ ...at, path: { ...at.path, number: 0 }, throwOnError: true });
  const picture: Blob = image;
  return { stages, status, image: Buffer.from(await picture.arrayBuffer()).toString('base64') };
};

export const isToldWhatIsWrong = async () => {
  const { error } = await generate({ client, body: { ...fox, width: 9 } });
  const problem = error as Problem;
  return { code: problem.code, fields: problem.errors?.map((fault) => fault.field) };
};

export const readsAnErrorOfOpenAI = async (): Promise<string> => {
  const { error } = await generateImages({ client, body: { prompt: 'a fox', n: 99 } });
  return error!.error.message;
};
`;

await step("type_checks", () => {
  tool("openapi-ts", "-i", `${process.env.EASEL_URL}/openapi.json`, "-o", `${scratch}/easel`);
  fs.writeFileSync(`${scratch}/program.ts`, program);
  const options = {
    strict: true, target: "es2022", lib: ["es2022", "dom", "dom.iterable"], outDir: "built",
    module: "commonjs", skipLibCheck: true, types: ["node"], typeRoots: [path.resolve("node_modules/@types")],
  };
  const project = { compilerOptions: options, files: ["program.ts"] };
  fs.writeFileSync(`${scratch}/tsconfig.json`, JSON.stringify(project));
  try {
    return tool("tsc", "-p", scratch);
  } catch (error) {
    return error.stdout;
  }
});

const built = (await import(`${scratch}/built/program.js`)).default;
const photo = fs.readFileSync(process.env.PHOTO).toString("base64");
await step("draws", built.draws);
await step("redraws_a_photo", () => built.redrawsAPhoto(photo));
await step("follows_and_fetches", built.followsAndFetches);
await step("is_told_what_is_wrong", built.isToldWhatIsWrong);
await step("reads_an_error_in_the_words_of_openai", built.readsAnErrorOfOpenAI);
