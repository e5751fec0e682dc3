import { join } from "node:path";
import { rm } from "node:fs/promises";
import { peakMemoryBytes } from "../../../src/runtime/memory.js";
import { writeConfig, writeShapedModel } from "../models.js";
import { runPeer } from "../peer.js";
import { oneLine, precisionsOf, short, type Stage } from "../stage.js";
import { loadModel, randomBatch, targetModules, timesOf, trainSteps } from "../training.js";

/** What is measured; of a dry run a model of two layers. */
const sizes = {
  full: {
    shape: "llama-3-8b",
    batch: 16,
    seq: 128,
    rank: 32,
    steps: 7,
    title: "Llama-3-8B's shape, 16 x 128",
  },
  dry: { shape: "small", batch: 2, seq: 32, rank: 4, steps: 3, title: "small, 2 x 32" },
} as const;

const methods = ["hira", "lora"] as const;

/** Tensors that nobody holds give their memory back now; without --expose-gc some time later. */
const collect = (): void => (globalThis as { readonly gc?: () => void }).gc?.();

/** A step of a model as large as the paper's. */
export const steps: Stage = {
  title: "A step of a large model",
  about:
    "HiRA and LoRA on random weights, all tokens labelled, without and with gradient checkpointing: the middle and the least of the steps, and the memory in use on the card after them, by whomever (a session gives nothing back while it lives, so it is the most that was); in a dry run the most that this process has held of the machine's.",
  limit: 110,
  async run({ add, open, plan, dryRun, work }) {
    const { shape, title, rank, ...size } = dryRun ? sizes.dry : sizes.full;
    const device = await open();
    const folder = join(work, "large");
    const begun = performance.now();
    await writeShapedModel(folder, shape);
    add({ with: `weights made in ${short((performance.now() - begun) / 1000)} s`, ok: true });
    const model = await loadModel(folder);
    const [precision = "fp32"] = precisionsOf(device, ["bf16", "fp32"]);
    // What needs least memory first, so that each line's is its own.
    for (const checkpointing of [true, false])
      for (const method of methods) {
        collect();
        const line = { model: title, with: `hira ${method}, ${precision}`, checkpointing };
        try {
          const trained = await trainSteps(model, await plan(precision), {
            ...{ method, rank, rate: 1e-3, checkpointing, steps: size.steps },
            batchOf: (step) =>
              randomBatch(model.model.vocabSize, { ...size, labelled: size.seq - 1 }, step),
          });
          const { middle, least } = timesOf(trained);
          const finite = trained.losses.every(Number.isFinite);
          add({
            ...line,
            ok: finite,
            "ms a step": short(middle),
            least: short(least),
            MiB: Math.round((trained.cardBytes ?? peakMemoryBytes()) / 2 ** 20),
            loss: short(trained.losses[0] ?? NaN),
          });
        } catch (error) {
          add({ ...line, ok: false, found: oneLine(error) });
        }
      }
    device.dispose();
    await rm(folder, { recursive: true, force: true });
  },
};

/** The same with peft. */
export const peers: Stage = {
  title: "The same step with peft",
  about:
    "peft's HiRA and LoRA in PyTorch on the same shape, weights made there; the memory likewise.",
  limit: 60,
  async run({ add, python, device, dryRun, work }) {
    const { shape, title, ...size } = dryRun ? sizes.dry : sizes.full;
    if (!python) {
      add({ with: "no --python was given: nothing is compared", ok: true });
      return;
    }
    const folder = join(work, "large-config");
    await writeConfig(folder, shape);
    const precision = device === "cpu" ? "fp32" : "bf16";
    const { steps: rows = [], version } = await runPeer(python, {
      ...{ work: "train", model: folder, precision, device, methods: [...methods] },
      ...{ checkpointing: [true, false], rank: size.rank, targets: targetModules.split(",") },
      ...{ batch: size.batch, seq: size.seq, labelled: size.seq - 1, steps: size.steps },
    });
    for (const { method, checkpointing, milliseconds = [], mib = 0, fault } of rows) {
      const line = {
        model: title,
        with: `peft ${method}, ${precision}, ${version}`,
        checkpointing,
      };
      if (fault) add({ ...line, ok: false, found: fault });
      else {
        const { middle, least } = timesOf({ milliseconds });
        add({ ...line, ok: true, "ms a step": short(middle), least: short(least), MiB: mib });
      }
    }
  },
};
