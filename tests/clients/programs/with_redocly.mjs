// Redocly: lint the documents of both services by its recommended rules.
import { spawnSync } from "node:child_process";
import path from "node:path";

const env = { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" };
for (const service of ["backend", "gpu_server"]) {
  const url = { backend: process.env.EASEL_URL, gpu_server: process.env.GPU_URL }[service];
  await step(service, () => {
    const options = ["lint", `${url}/openapi.json`, "--format=json"];
    const done = spawnSync(path.resolve("node_modules/.bin/redocly"), options, { env, encoding: "utf8" });
    const { problems } = JSON.parse(done.stdout.slice(done.stdout.indexOf("{")));
    return problems.map((problem) => `${problem.ruleId}: ${problem.message}`);
  });
}
