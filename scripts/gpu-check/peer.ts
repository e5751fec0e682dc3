import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** What the program in Python is asked for: peer.py beside this file. */
export interface PeerRequest {
  readonly work: "decode" | "train";
  /** A model's folder; the weights of "train" are made up there, only config.json counts. */
  readonly model: string;
  readonly precision: "fp32" | "bf16";
  /** "cpu", else the first card. */
  readonly device: string;
  readonly prompts?: readonly (readonly number[])[];
  readonly newTokens?: number;
  /** peft's HiRA and LoRA, and the shape of a step. */
  readonly methods?: readonly string[];
  readonly checkpointing?: readonly boolean[];
  readonly rank?: number;
  readonly targets?: readonly string[];
  readonly batch?: number;
  readonly seq?: number;
  readonly labelled?: number;
  readonly steps?: number;
}

/** What it answers. */
export interface PeerResult {
  readonly version: string;
  readonly tokens?: readonly (readonly number[])[];
  readonly perSecond?: number;
  /** A line a method and kind of checkpointing. */
  readonly steps?: readonly {
    readonly method: string;
    readonly checkpointing: boolean;
    readonly milliseconds?: readonly number[];
    readonly mib?: number;
    readonly fault?: string;
  }[];
}

const program = fileURLToPath(new URL("peer.py", import.meta.url));

/** Runs PyTorch's side in a process of its own. @throws {Error} with the end of what it wrote */
export const runPeer = async (python: string, request: PeerRequest): Promise<PeerResult> => {
  try {
    const { stdout } = await promisify(execFile)(python, [program, JSON.stringify(request)], {
      maxBuffer: 64 << 20,
    });
    return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as PeerResult;
  } catch (error) {
    const { stderr = "" } = error as { readonly stderr?: string };
    throw new Error(stderr.trim().split("\n").slice(-2).join(" ") || String(error), {
      cause: error,
    });
  }
};
