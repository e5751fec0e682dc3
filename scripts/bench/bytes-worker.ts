/**
 * A run of `hira train` in which the bytes are counted that its process hands to the group, by the group's function.
 *
 * usage: bytes-worker.ts OUT.json FLAGS...
 */
import { writeFileSync } from "node:fs";
import { trainCommand } from "../../src/cli/commands/train.js";
import { main } from "../../src/cli/main.js";
import { trainWork } from "../../src/cli/train-work.js";
import type { ProcessGroup } from "../../src/distributed/process-group.js";

const [out = "", ...argv] = process.argv.slice(2);
const counts: Record<string, number> = {};

/** The same group, which counts what its functions are given. */
const counted = (group: ProcessGroup): ProcessGroup =>
  new Proxy(group, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function") return value;
      return (...args: readonly unknown[]): unknown => {
        const [array] = args;
        if (ArrayBuffer.isView(array))
          counts[String(name)] = (counts[String(name)] ?? 0) + array.byteLength;
        return Reflect.apply(value, target, args);
      };
    },
  });

const command = trainCommand(trainWork);
let rank = 0;
const code = await main(argv, {
  commands: [
    {
      ...command,
      run: (input) =>
        command.run({
          ...input,
          context: {
            ...input.context,
            async joinProcesses() {
              const group = await input.context.joinProcesses();
              ({ rank } = group);
              return counted(group);
            },
          },
        }),
    },
  ],
});
if (rank === 0) writeFileSync(out, JSON.stringify(counts));
process.exitCode = code;
