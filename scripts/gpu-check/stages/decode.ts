import { join } from "node:path";
import { randomStream } from "../../../src/core/random.js";
import { ModelEngine } from "../../../src/decode/engine.js";
import { generate } from "../../../src/decode/generate.js";
import { defaultDecodeSettings } from "../../../src/decode/settings.js";
import { cpuPlan, type ComputePlan } from "../../../src/runtime/compute-plan.js";
import { writeShapedModel } from "../models.js";
import { runPeer } from "../peer.js";
import { oneLine, precisionsOf, short, type Stage } from "../stage.js";
import { loadModel, type LoadedModel } from "../training.js";

interface Decoded {
  readonly tokens: readonly (readonly number[])[];
  readonly perSecond: number;
}

const decodeWith = async (
  { model, weights }: LoadedModel,
  plan: ComputePlan,
  prompts: readonly (readonly number[])[],
  newTokens: number,
): Promise<Decoded> => {
  const maxPositions = (prompts[0]?.length ?? 0) + newTokens + 1;
  const engine = await ModelEngine.create({ model, weights, maxPositions, plan });
  const settings = { ...defaultDecodeSettings, maxNewTokens: newTokens, eosIds: [], padId: 0 };
  const run = () =>
    generate({
      ...{ engine, settings, batch: prompts.length },
      prompts: prompts.map((ids) => ({ ids: [...ids] })),
    });
  try {
    // The first warms up.
    await run();
    const begun = performance.now();
    const found = await run();
    const seconds = (performance.now() - begun) / 1000;
    const tokens = found.map(([best]) => best?.tokens ?? []);
    return { tokens, perSecond: (prompts.length * newTokens) / seconds };
  } finally {
    engine.dispose();
  }
};

const agreeing = (a: Decoded["tokens"], b: Decoded["tokens"]): number =>
  a.filter((tokens, i) => tokens.join() === b[i]?.join()).length;

/** Greedy decoding, token for token beside the CPU's, and its speed beside transformers'. */
export const decode: Stage = {
  title: "Decoding",
  about:
    "Greedy, the same prompts: rows whose tokens are all the CPU's (in float32 all have to be; other precisions may part where two tokens are as likely), and tokens per second beside transformers on the same card.",
  limit: 50,
  async run({ add, open, plan, dryRun, work, python, device: name }) {
    const device = await open();
    const shaped = join(work, "shaped-decoding");
    await writeShapedModel(shaped, dryRun ? "small" : "smollm2-135m");
    for (const [title, folder] of [
      ["demo", "data_file/demo"],
      [dryRun ? "small, random" : "SmolLM2-135M's shape, random", shaped],
    ] as const) {
      const model = await loadModel(folder);
      const stream = randomStream(3, "gpu-check:prompts");
      const [rows, length, newTokens] = [8, 24, dryRun ? 16 : 64];
      const prompts = Array.from({ length: rows }, () =>
        Array.from({ length }, () => stream.integer(model.model.vocabSize)),
      );
      const expected = await decodeWith(model, cpuPlan(), prompts, newTokens);
      for (const precision of precisionsOf(device, ["fp32", "bf16", "fp16"])) {
        const found = await decodeWith(model, await plan(precision), prompts, newTokens);
        const same = agreeing(found.tokens, expected.tokens);
        add({
          ...{ model: title, with: `hira, ${precision}` },
          ok: precision !== "fp32" || same === rows,
          "rows as the CPU's": `${String(same)} of ${String(rows)}`,
          "tokens/s": short(found.perSecond),
          "CPU's": short(expected.perSecond),
        });
      }
      if (!python) continue;
      // A start of Python each: the demo's in float32 for its tokens, the other as fast as it goes.
      const precision = title === "demo" || device.name === "cpu" ? "fp32" : "bf16";
      const line = { model: title, with: `transformers, ${precision}` };
      try {
        const request = { precision, prompts, newTokens, device: name } as const;
        const peer = await runPeer(python, { work: "decode", model: folder, ...request });
        const same = agreeing(peer.tokens ?? [], expected.tokens);
        add({
          ...line,
          ok: true,
          "rows as the CPU's": `${String(same)} of ${String(rows)}`,
          "tokens/s": short(peer.perSecond ?? NaN),
        });
      } catch (error) {
        add({ ...line, ok: false, found: oneLine(error) });
      }
    }
    device.dispose();
  },
};
