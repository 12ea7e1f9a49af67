// Report what each step of a client's program came to, into the file that REPORT names.
import fs from "node:fs";

const reported = {};

globalThis.step = async (name, action) => {
  try {
    reported[name] = await action();
  } catch (error) {
    reported[name] = { error: { class: error.constructor.name, message: error.message } };
  }
};

process.on("exit", () => fs.writeFileSync(process.env.REPORT, JSON.stringify(reported)));
