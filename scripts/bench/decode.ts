/** Decoding speed on a real model: prompts of a commonsense set's test rows, by our engine. */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { UserError } from "../../src/core/errors.js";
import { median } from "../../src/core/median.js";
import { loadSplit } from "../../src/datasets/load-split.js";
import { findDataset } from "../../src/datasets/registry.js";
import { contextText, templates } from "../../src/datasets/templates.js";
import { ModelEngine } from "../../src/decode/engine.js";
import { generate } from "../../src/decode/generate.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import type { DecodeEngine } from "../../src/decode/step-engine.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { openFrozenWeights } from "../../src/models/weights/frozen-weights.js";
import { cpuPlan } from "../../src/runtime/compute-plan.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import type { Bench } from "./bench.js";

const usage = `--model=DIR --out=FILE.json [--data_dir=DIR] [--dataset=piqa] [--rows=16] [--batch=16] [--beams=4] [--new=16]
[--repeat=3] [--threads=N] [--prepack] [--storage=float32|stored] [--no-eos]
  The first repetition warms up and is not counted. FILE.json then has prompts, settings, texts and times:
  scripts/reference/decode_bench.py reads it, runs transformers on the same prompts and compares both.`;

const run = async (argv: readonly string[]): Promise<void> => {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      model: { type: "string" },
      out: { type: "string" },
      data_dir: { type: "string", default: "../shared/data/data_file" },
      dataset: { type: "string", default: "piqa" },
      rows: { type: "string", default: "16" },
      batch: { type: "string", default: "16" },
      beams: { type: "string", default: "4" },
      new: { type: "string", default: "16" },
      repeat: { type: "string", default: "3" },
      threads: { type: "string" },
      prepack: { type: "boolean", default: false },
      storage: { type: "string", default: "float32" },
      "no-eos": { type: "boolean", default: false },
    },
  });
  if (!values.model || !values.out)
    throw new UserError("Cannot measure decoding: found no --model or no --out");

  const dataset = findDataset(values.dataset);
  if (dataset.kind !== "set")
    throw new UserError(
      `Cannot measure decoding: found --dataset=${values.dataset}, expected one set`,
    );
  const { rows } = await loadSplit(dataset, "test", { root: values.data_dir });
  const tokenizer = await loadTokenizer(values.model);
  const prompts = rows.slice(0, Number(values.rows)).map(({ context }) => ({
    ids: tokenizer.encode(`${tokenizer.bosToken ?? ""}${contextText(templates[4], context)}`),
  }));

  const model = await loadModelFolder(values.model);
  const settings = {
    ...defaultDecodeSettings,
    numBeams: Number(values.beams),
    maxNewTokens: Number(values.new),
    eosIds: values["no-eos"] ? [] : model.tokenIds.eosIds,
    padId: tokenizer.padId,
  };
  const longest = Math.max(...prompts.map(({ ids }) => ids.length));
  const startedLoading = performance.now();
  const weights = await openFrozenWeights(model.weights, {
    storage: values.storage === "stored" ? "stored" : "float32",
  });
  const engine = await ModelEngine.create({
    model: model.model,
    weights,
    maxPositions: longest + settings.maxNewTokens,
    prepack: values.prepack,
    plan: cpuPlan(values.threads === undefined ? undefined : Number(values.threads)),
  });
  const loadMs = performance.now() - startedLoading;

  let prefillMs = 0;
  let stepsMs: number[] = [];
  const timed = async <T>(
    work: () => Promise<T>,
    note: (elapsedMs: number) => void,
  ): Promise<T> => {
    const start = performance.now();
    const result = await work();
    note(performance.now() - start);
    return result;
  };
  const watched: DecodeEngine = {
    vocabularySize: engine.vocabularySize,
    async start(batch, options) {
      const { run, candidates } = await timed(
        () => engine.start(batch, options),
        (elapsedMs) => (prefillMs += elapsedMs),
      );
      return {
        candidates,
        run: {
          step: (input) =>
            timed(
              () => run.step(input),
              (elapsedMs) => stepsMs.push(elapsedMs),
            ),
          keep: (places) => {
            run.keep(places);
          },
          dispose: () => {
            run.dispose();
          },
        },
      };
    },
  };

  const runs = [];
  let sequences;
  for (let repetition = 0; repetition <= Number(values.repeat); repetition++) {
    [prefillMs, stepsMs] = [0, []];
    const start = performance.now();
    const found = await generate({
      engine: watched,
      prompts,
      settings,
      batch: Number(values.batch),
    });
    const totalMs = performance.now() - start;
    sequences = found.map((texts) => texts.map(({ tokens, score }) => ({ tokens, score })));
    const newTokens = found.reduce((sum, [best]) => sum + (best?.tokens.length ?? 0), 0);
    if (repetition === 0) continue;
    const run = {
      totalMs,
      prefillMs,
      steps: stepsMs.length,
      medianStepMs: median(stepsMs),
      newTokens,
      tokensPerSecond: (1000 * newTokens) / totalMs,
    };
    runs.push(run);
    console.log(JSON.stringify(run));
  }
  const peakRssMiB = process.resourceUsage().maxRSS / 1024;
  console.log(JSON.stringify({ loadMs, longest, peakRssMiB }));
  writeFileSync(
    values.out,
    JSON.stringify({
      model: values.model,
      batch: Number(values.batch),
      settings,
      prompts: prompts.map(({ ids }) => ids),
      sequences,
      runs,
      loadMs,
      peakRssMiB,
    }),
  );
  engine.dispose();
};

export const decodeBench: Bench = {
  summary: "beam search over prompts of a commonsense set: tokens a second and peak memory",
  usage,
  run,
};
