// Report what each step of a client's program came to, as one line of JSON at its end.
const reported = {};

globalThis.step = async (name, action) => {
  try {
    reported[name] = await action();
  } catch (error) {
    const status = error.status ?? error.statusCode ?? null;
    reported[name] = { error: { class: error.constructor.name, message: error.message, status } };
  }
};

process.on("exit", () => process.stdout.write(`\n${JSON.stringify(reported)}\n`));
