/** Contenders of `npm run bench -- all`: processes that are made once, and measured when it is their turn. */
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { UserError } from "../../src/core/errors.js";
import { watchOthers } from "./busy.js";
import type { DecodeOptions } from "./decode-worker.js";
import type { WorkerOptions } from "./step-worker.js";
import type { Sample } from "./turns.js";

/** In what PyTorch computes: float32; that under autocast; frozen weights in bfloat16 under autocast. */
export type PeerPrecision = "fp32" | "autocast" | "bf16";

/** What scripts/reference/peer_worker.py is asked for. */
export type PeerOptions =
  | ({
      readonly kind: "step";
      /** W * (1 + B A) in one product as the authors write it, or the peft package's. */
      readonly formula: "original" | "peft-hira" | "peft-lora";
      readonly precision: PeerPrecision;
      readonly compile: boolean;
    } & Pick<
      WorkerOptions,
      "model" | "batches" | "warmup" | "rank" | "targetModules" | "threads" | "attention"
    >)
  | (Omit<DecodeOptions, "choice"> & {
      readonly kind: "decode";
      readonly precision: PeerPrecision;
    });

/** Who is measured. */
export interface ContenderPlan {
  readonly label: string;
  readonly program: "step" | "decode" | "peer";
  readonly options: WorkerOptions | DecodeOptions | PeerOptions;
}

interface Ready {
  readonly firstLoss: number | null;
  readonly version: string;
}

interface Answer {
  readonly milliseconds: readonly number[];
  readonly cpuMs: number;
  readonly peakBytes: number;
}

const scriptOf = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

const commandOf = (
  { program, options }: ContenderPlan,
  python: string,
): readonly [string, readonly string[]] => {
  const text = JSON.stringify(options);
  if (program === "peer") return [python, [scriptOf("../reference/peer_worker.py"), text]];
  return [process.execPath, [...process.execArgv, scriptOf(`${program}-worker.ts`), text]];
};

/** A contender that is running. */
export class Contender {
  readonly label: string;
  readonly firstLoss: number | null;
  /** Largest memory so far, of its whole process. */
  peakBytes = 0;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;

  private constructor(
    label: string,
    process: ChildProcessWithoutNullStreams,
    lines: AsyncIterator<string>,
    { firstLoss }: Ready,
  ) {
    this.label = label;
    this.firstLoss = firstLoss;
    this.#process = process;
    this.#lines = lines;
  }

  /** Starts a process and waits until it has loaded and warmed up. @throws {UserError} with the end of what it says if it fails */
  static async start(plan: ContenderPlan, python: string): Promise<Contender> {
    const [command, argv] = commandOf(plan, python);
    const child = spawn(command, [...argv], { stdio: "pipe" });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => (said = (said + chunk.toString()).slice(-1500)));
    child.stdin.on("error", () => undefined);
    const failed = once(child, "error").then(([error]) => {
      throw error as Error;
    });
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    for (;;) {
      const next = await Promise.race([lines.next(), failed]);
      if (next.done === true) throw new UserError(`Cannot measure ${plan.label}: ${said.trim()}`);
      if (!next.value.startsWith('{"ready"')) continue;
      failed.catch(() => undefined);
      return new Contender(plan.label, child, lines, JSON.parse(next.value) as Ready);
    }
  }

  /** The first `lines` lines of its batches, or one generation. */
  async sample(lines: number): Promise<Sample> {
    const othersSince = watchOthers();
    this.#process.stdin.write(`${JSON.stringify({ lines })}\n`);
    const next = await this.#lines.next();
    if (next.done === true) throw new UserError(`Cannot measure ${this.label}: its process ended`);
    const { milliseconds, cpuMs, peakBytes } = JSON.parse(next.value) as Answer;
    this.peakBytes = Math.max(this.peakBytes, peakBytes);
    return {
      milliseconds: milliseconds.reduce((sum, each) => sum + each, 0),
      othersCores: othersSince(cpuMs),
    };
  }

  close(): void {
    this.#process.kill("SIGKILL");
  }
}
