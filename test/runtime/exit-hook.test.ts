import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import test, { type ExecutionContext } from "ava";
import { makeTempFolder } from "../support/temp-folder.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
}

/** Runs a module in a process of its own, with OrtSession, Tensor, chainModel and x (256 x 256) at hand. */
const runChild = (code: string, env: Readonly<Record<string, string>> = {}): Promise<Ended> => {
  const program = `
    const { OrtSession } = await import("./src/runtime/ort/session.ts");
    const { Tensor } = await import("./src/runtime/tensor.ts");
    const { chainModel } = await import("./test/support/chain-model.ts");
    const x = Tensor.zeros("float32", [256, 256]);
    ${code}`;
  const child = spawn(
    process.execPath,
    ["--import=tsx", "--expose-gc", "--input-type=module", "--eval", program],
    { cwd: root, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } },
  );
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (bytes: Buffer) => (output += bytes.toString()));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => resolve({ code, signal, output }));
  });
};

const endsWith = async (t: ExecutionContext, code: string, expected: number): Promise<string> => {
  const { code: found, signal, output } = await runChild(code);
  t.deepEqual({ found, signal }, { found: expected, signal: null }, output);
  return output;
};

// Runs of different lengths: one that ends while node tears down is what crashed.
for (const links of [20, 60, 200])
  test.serial(`process.exit during a run of ${links} products keeps its code`, async (t) => {
    for (let i = 0; i < 2; i++) {
      const output = await endsWith(
        t,
        `const session = await OrtSession.create({ model: chainModel(256, ${links}), threads: 1 });
        process.on("exit", () => console.log("listened"));
        void session.run({ x, w: x });
        setTimeout(() => process.exit(7), 5);`,
        7,
      );
      t.regex(output, /listened/);
    }
  });

test.serial("an error that nobody catches during a run ends with code 1", async (t) => {
  const output = await endsWith(
    t,
    `const session = await OrtSession.create({ model: chainModel(256, 60), threads: 1 });
    void session.run({ x, w: x });
    setTimeout(() => { throw new Error("on purpose"); }, 5);`,
    1,
  );
  t.regex(output, /on purpose/);
});

test.serial("process.exit while a session is made keeps its code", (t) =>
  endsWith(
    t,
    `void OrtSession.create({ model: chainModel(256, 4000), threads: 1 });
    setTimeout(() => process.exit(9), 5);`,
    9,
  ),
);

test.serial("a process with idle sessions ends by itself, with its exitCode", (t) =>
  endsWith(
    t,
    `globalThis.session = await OrtSession.create({ model: chainModel(256, 2), threads: 2 });
    globalThis.result = await session.run({ x, w: x });
    process.exitCode = 3;`,
    3,
  ),
);

test.serial("the runtime prints nothing and leaves nothing behind", async (t) => {
  const folder = await makeTempFolder(t);
  const { code, output } = await runChild(
    `const { tinyModel } = await import("./test/support/tiny-onnx.ts");
    const port = (name, shape) => ({ name, dtype: "float32", shape });
    const bad = { inputs: [port("x", ["n"]), port("y", ["m"])], outputs: [port("z", [null])] };
    const create = (op) =>
      OrtSession.create({ model: tinyModel({ ...bad, nodes: [{ op, inputs: ["x", "y"], outputs: ["z"] }] }) });
    await create("NoSuchOp").catch(() => undefined);
    const session = await create("Add");
    const inputs = { x: Tensor.zeros("float32", [2]), y: Tensor.zeros("float32", [3]) };
    await session.run(inputs).then(() => process.exit(5), () => undefined);
    await new Promise((resolve) => setTimeout(resolve, 200));`,
    // Caches of tsx are not ours.
    { TMPDIR: folder, XDG_CACHE_HOME: folder, TSX_DISABLE_CACHE: "1", NODE_NO_WARNINGS: "1" },
  );
  t.is(output, "");
  t.is(code, 0);
  t.deepEqual(
    (await readdir(folder)).filter((name) => !name.startsWith("tsx-")),
    [],
  );
});
