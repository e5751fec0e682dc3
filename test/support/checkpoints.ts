import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { CheckpointToWrite } from "../../src/train/checkpoint.js";
import type { TrainerState } from "../../src/train/trainer-state.js";

/** An empty folder that goes when the test ends. */
export const makeRunFolder = async (t: ExecutionContext): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), "hira-run-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  return folder;
};

export const stateAt = (step: number, best?: [step: number, metric: number]): TrainerState => ({
  step,
  totalSteps: 100,
  epoch: step / 40,
  epochs: 2.5,
  batch: 16,
  evalSteps: 20,
  tokensSeen: 1000 * step,
  trainSeconds: step / 8,
  evaluations: {
    best: best === undefined ? undefined : { step: best[0], metric: best[1] },
    withoutGain: 1,
  },
  earlyStopPatience: 3,
  logHistory: [{ step, epoch: step / 40, loss: 1.5, grad_norm: 0.25, learning_rate: 1e-3 }],
});

/** A small checkpoint with an adapter of two parameters; `change` replaces parts of it. */
export const smallCheckpoint = (
  step: number,
  best?: [step: number, metric: number],
  change: Partial<CheckpointToWrite> = {},
): CheckpointToWrite => ({
  state: stateAt(step, best),
  position: { seed: 36, step, epoch: Math.floor(step / 40), batch: step % 40 },
  moments: ["layers.0.A", "layers.0.B"].map((name, i) => ({
    name,
    shape: [2, 3],
    m: Float32Array.from({ length: 6 }, (_, j) => step + i + j / 8),
    v: Float32Array.from({ length: 6 }, (_, j) => j / 64),
  })),
  writeWeights: async (folder) => {
    await writeFile(join(folder, "adapter_config.json"), `{"step": ${String(step)}}`);
    await writeFile(join(folder, "adapter_model.safetensors"), Buffer.alloc(100, step));
  },
  ...change,
});
