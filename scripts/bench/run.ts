/** `npm run bench -- NAME FLAGS...` runs a benchmark; without a name it lists them. */
import { didYouMean, messageOf, UserError } from "../../src/core/errors.js";
import { allBench } from "./all.js";
import type { Bench } from "./bench.js";
import { bytesBench } from "./bytes.js";
import { decodeBench } from "./decode.js";
import { devicesBench } from "./devices.js";
import { memoryBench } from "./memory.js";
import { scaleBench } from "./scale-on-paper.js";
import { shapesBench } from "./shapes.js";
import { stepBench } from "./step.js";
import { zeroBench } from "./zero.js";

const benches: Readonly<Record<string, Bench>> = {
  all: allBench,
  step: stepBench,
  shapes: shapesBench,
  decode: decodeBench,
  memory: memoryBench,
  devices: devicesBench,
  scale: scaleBench,
  bytes: bytesBench,
  zero: zeroBench,
};

const [name, ...argv] = process.argv.slice(2);
const bench = name === undefined ? undefined : benches[name];
if (name === undefined || name === "--help") {
  console.log("usage: npm run bench -- NAME FLAGS...\n");
  for (const [known, { summary, usage }] of Object.entries(benches))
    console.log(`${known}: ${summary}\n  ${usage.replaceAll("\n", "\n  ")}\n`);
} else if (bench) {
  try {
    await bench.run(argv);
  } catch (error) {
    // A flag that parseArgs does not know is a fault of the command line too.
    const code = String((error as { readonly code?: unknown }).code);
    if (!(error instanceof UserError) && !code.startsWith("ERR_PARSE_ARGS")) throw error;
    const hint = error instanceof UserError ? error.hint : bench.usage;
    console.error(`error: ${messageOf(error)}${hint === undefined ? "" : `\n  ${hint}`}`);
    process.exitCode = 2;
  }
} else {
  const hint =
    didYouMean(name, Object.keys(benches)) ?? `Known: ${Object.keys(benches).join(", ")}`;
  console.error(`error: Cannot run the benchmark "${name}": found none of that name\n  ${hint}`);
  process.exitCode = 2;
}
