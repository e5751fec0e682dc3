import { spawn, type ChildProcessByStdio } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { ExecutionContext } from "ava";
import { randomStream } from "../../src/core/random.js";

/** How packets fare on a cable. */
export interface CableFaults {
  readonly delayMs: number;
  /** The share of packets that are lost. */
  readonly loss: number;
}

type End = ChildProcessByStdio<Writable, Readable, null>;

const program = fileURLToPath(new URL("tun-end.ts", import.meta.url));

/** Calls `take` with each packet that an end's standard output frames. */
const readPackets = (end: End, take: (packet: Buffer) => void): void => {
  let waiting = Buffer.alloc(0);
  end.stdout.on("data", (piece: Buffer) => {
    waiting = Buffer.concat([waiting, piece]);
    while (waiting.length >= 4) {
      const length = 4 + waiting.readUInt32LE(0);
      if (waiting.length < length) return;
      take(waiting.subarray(0, length));
      waiting = waiting.subarray(length);
    }
  });
};

/**
 * Lays a cable of this name between two places, with packets late and lost, until the test ends: what tc's netem does, for kernels
 * without it.
 *
 * @param within the words before a command that run it at each end
 * @returns how many packets have gone and how many were lost so far; undefined where the system has no TUN devices
 */
export const laySlowCable = async (
  t: ExecutionContext,
  name: string,
  within: readonly [readonly string[], readonly string[]],
  { delayMs, loss }: CableFaults,
): Promise<(() => { readonly sent: number; readonly lost: number }) | undefined> => {
  const stream = randomStream(5, "slow cable");
  const counts = { sent: 0, lost: 0 };
  const ends = within.map(([first = "", ...words]): End => {
    const argv = [...words, process.execPath, "--import=tsx", program, name];
    const end = spawn(first, argv, { stdio: ["pipe", "pipe", "ignore"] });
    end.stdin.on("error", () => undefined);
    return end;
  }) as [End, End];
  t.teardown(() => {
    for (const end of ends) end.kill("SIGKILL");
  });
  const ready = ends.map(
    (end, i) =>
      new Promise<boolean>((resolve) => {
        end.once("exit", () => {
          resolve(false);
        });
        readPackets(end, (packet) => {
          resolve(true);
          if (packet.length === 4) return;
          counts.sent++;
          if (stream.uniform() < loss) counts.lost++;
          else setTimeout(() => ends[1 - i]?.stdin.write(packet), delayMs);
        });
      }),
  );
  return (await Promise.all(ready)).every(Boolean) ? () => ({ ...counts }) : undefined;
};
