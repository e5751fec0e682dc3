/** The cases of `npm run bench -- all`, in groups that share contenders. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf } from "../../src/core/errors.js";
import { loadSplit } from "../../src/datasets/load-split.js";
import { findSingleDataset } from "../../src/datasets/registry.js";
import { contextText, templates } from "../../src/datasets/templates.js";
import { loadModelFolder } from "../../src/models/model-folder.js";
import type { ComputeChoice } from "../../src/runtime/compute-plan.js";
import { loadTokenizer } from "../../src/tokenizer/load-tokenizer.js";
import { readSteps, writeSteps } from "../reference/batch-file.js";
import type { Report } from "./all-report.js";
import { Contender, type ContenderPlan, type PeerPrecision } from "./contenders.js";
import type { CaseName } from "./goals.js";
import { padAsOriginal, randomSteps, shuffleRows } from "./step-batches.js";
import { takeTurns, type Sample } from "./turns.js";

/** What is measured, and against whom. */
export interface AllSettings {
  readonly model: string;
  readonly python: string;
  readonly dataDir: string;
  readonly rounds: number;
  readonly quick: boolean;
  readonly threads: number;
  readonly rank: number;
  readonly targetModules: string;
  /** Our best precision; undefined: the default device's. */
  readonly best: ComputeChoice | undefined;
}

/** What a group of cases works with. */
export interface AllContext {
  readonly settings: AllSettings;
  readonly report: Report;
  /** For batches and outputs, removed at the end. */
  readonly folder: string;
}

/** Contenders of a group, which end with it. */
class Field {
  readonly #context: AllContext;
  readonly #running = new Set<Contender>();

  constructor(context: AllContext) {
    this.#context = context;
  }

  /** Starts a contender; one that fails is reported missing. */
  async start(plan: ContenderPlan): Promise<Contender | undefined> {
    try {
      const contender = await Contender.start(plan, this.#context.settings.python);
      this.#running.add(contender);
      return contender;
    } catch (error) {
      await this.#context.report.missing(plan.label, messageOf(error));
      return undefined;
    }
  }

  close(contender: Contender): void {
    contender.close();
    this.#running.delete(contender);
  }

  closeAll(): void {
    for (const contender of this.#running) contender.close();
    this.#running.clear();
  }

  /** The fastest of each class, running; all are measured once, one after the other. */
  async fastest<Name extends string>(
    plans: readonly ContenderPlan[],
    lines: number,
    classes: Readonly<Record<Name, (label: string) => boolean>>,
  ): Promise<Readonly<Partial<Record<Name, Contender>>>> {
    const best: Partial<Record<Name, { contender: Contender; milliseconds: number }>> = {};
    for (const plan of plans) {
      const contender = await this.start(plan);
      if (!contender) continue;
      let sample: Sample;
      try {
        sample = await contender.sample(lines);
      } catch (error) {
        await this.#context.report.missing(plan.label, messageOf(error));
        continue;
      }
      const { milliseconds, othersCores } = sample;
      process.stderr.write(
        `  ${plan.label}: ${milliseconds.toFixed(0)} ms, ${othersCores.toFixed(2)} cores taken by others\n`,
      );
      const before = Object.values(best) as readonly { readonly contender: Contender }[];
      for (const name of Object.keys(classes) as Name[])
        if (classes[name](plan.label) && milliseconds < (best[name]?.milliseconds ?? Infinity))
          best[name] = { contender, milliseconds };
      const kept = new Set(Object.values(best).map((one) => (one as (typeof before)[0]).contender));
      for (const each of [contender, ...before.map((one) => one.contender)])
        if (!kept.has(each) && this.#running.has(each)) this.close(each);
    }
    const entries = Object.entries(best) as [Name, { readonly contender: Contender }][];
    return Object.fromEntries(entries.map(([name, { contender }]) => [name, contender])) as Partial<
      Record<Name, Contender>
    >;
  }

  /** Measures the two in turns: second over first. A contender that is missing leaves the case out, which was reported. */
  async compare(
    name: CaseName,
    first: Contender | undefined,
    second: Contender | undefined,
    lines: number,
    order: "ours first" | "first over second" = "ours first",
  ): Promise<void> {
    if (!first || !second) return;
    const { rounds } = this.#context.settings;
    const result = await takeTurns(
      () => first.sample(lines),
      () => second.sample(lines),
      { rounds, repeats: this.#context.settings.quick ? 1 : rounds },
    );
    const who = [first.label, second.label] as const;
    await this.#context.report.times(
      name,
      order === "ours first" ? who : [second.label, first.label],
      result,
    );
  }
}

const withField = async (
  context: AllContext,
  work: (field: Field) => Promise<void>,
): Promise<void> => {
  const field = new Field(context);
  try {
    await work(field);
  } finally {
    field.closeAll();
  }
};

const wordsOf = (choice: ComputeChoice | undefined): string =>
  choice === undefined ? "cpu fp32" : `${choice.device ?? "cpu"} ${choice.precision ?? "fp32"}`;

const ourStep = (
  { model, rank, targetModules, threads }: AllSettings,
  batches: string,
  method: "hira" | "lora",
  choice: ComputeChoice | undefined,
): ContenderPlan => ({
  label: `hira: ${method === "hira" ? "HiRA" : "LoRA"}, ${wordsOf(choice)}`,
  program: "step",
  options: {
    ...{ model, batches, method, rank, targetModules, threads },
    ...{
      warmup: 1,
      checkpointing: false,
      storage: "stored",
      attention: "eager",
      logits: "labelled",
    },
    ...(choice && { choice }),
    serve: true,
  },
});

type Formula = "original" | "peft-hira";

const peerStep = (
  { model, rank, targetModules, threads }: AllSettings,
  batches: string,
  formula: Formula,
  precision: PeerPrecision,
  {
    compile = false,
    attention = "sdpa",
  }: { readonly compile?: boolean; readonly attention?: "eager" | "sdpa" } = {},
): ContenderPlan => ({
  label: `torch ${formula}, ${precision}${compile ? ", compiled" : ""}${attention === "eager" ? ", eager attention" : ""}`,
  program: "peer",
  options: {
    ...{ kind: "step", model, batches, rank, targetModules, threads },
    ...{ formula, precision, compile, attention, warmup: 1 },
  },
});

const precisions: readonly PeerPrecision[] = ["fp32", "autocast", "bf16"];
const any = (): boolean => true;

/** Rows of ARC-Easy, batch 4. */
export const realCases = (context: AllContext): Promise<void> =>
  withField(context, async (field) => {
    const { settings, report, folder } = context;
    const updates = settings.quick ? 3 : 6;
    const out = join(folder, "real");
    const flags = [
      ...["--peft_type=hira", `--model=${settings.model}`, `--data_dir=${settings.dataDir}`],
      ...["--dataset=arce", "--batch=4", "--lr=1e-3", "--seed=36", "--eval_strategy=no"],
      ...[`--r_ab=${String(settings.rank)}`, `--target_modules=${settings.targetModules}`],
      `--max_steps=${String(updates)}`,
    ];
    const script = fileURLToPath(new URL("../reference/export-batches.ts", import.meta.url));
    await promisify(execFile)(process.execPath, [...process.execArgv, script, out, ...flags]);
    const given = join(out, "train.jsonl");
    const { pad_id: padId } = JSON.parse(await readFile(join(out, "run.json"), "utf8")) as {
      readonly pad_id: number;
    };
    const steps = await readSteps(given);
    const [wide, shuffled] = [join(out, "original.jsonl"), join(out, "shuffled.jsonl")];
    await writeSteps(
      wide,
      steps.map(({ step, batches }) => ({
        step,
        batches: batches.map((batch) => padAsOriginal(batch, padId)),
      })),
    );
    await writeSteps(shuffled, shuffleRows(steps, padId));
    const ours = await field.start(ourStep(settings, given, "hira", settings.best));
    const scout = 1;
    const original = await field.fastest(
      precisions.map((precision) => peerStep(settings, wide, "original", precision)),
      scout,
      { any },
    );
    await field.compare("real batches against the original", ours, original.any, updates);
    if (ours && original.any)
      await report.peaks(
        "peak memory of real batches over the original's",
        [ours.label, original.any.label],
        [ours.peakBytes, original.any.peakBytes],
      );
    if (original.any) field.close(original.any);
    const peft = await field.fastest(
      precisions.map((precision) => peerStep(settings, shuffled, "peft-hira", precision)),
      scout,
      { any },
    );
    await field.compare("real batches against peft HiRA, dynamic padding", ours, peft.any, updates);
    field.closeAll();
    for (const choice of choicesOf(settings)) {
      const [hira, lora] = [
        await field.start(ourStep(settings, given, "hira", choice)),
        await field.start(ourStep(settings, given, "lora", choice)),
      ];
      await field.compare(
        "HiRA's step over LoRA's, batch 4",
        lora,
        hira,
        updates,
        "first over second",
      );
      field.closeAll();
    }
  });

/** The default device, and the best where it is another. */
const choicesOf = ({ best }: AllSettings): readonly (ComputeChoice | undefined)[] =>
  best === undefined ? [undefined] : [undefined, best];

const writeRandom = async (
  { settings, folder }: AllContext,
  batch: number,
  columns: number,
  steps: number,
): Promise<string> => {
  const { model } = await loadModelFolder(settings.model);
  const path = join(folder, `${String(batch)}x${String(columns)}.jsonl`);
  await writeSteps(path, randomSteps({ steps, batch, columns }, columns, model.vocabSize));
  return path;
};

/** 8 x 128, every token labelled. */
export const fixedCases = (context: AllContext): Promise<void> =>
  withField(context, async (field) => {
    const { settings, report } = context;
    const lines = settings.quick ? 1 : 2;
    const batches = await writeRandom(context, 8, 128, lines);
    for (const choice of choicesOf(settings)) {
      const [hira, lora] = [
        await field.start(ourStep(settings, batches, "hira", choice)),
        await field.start(ourStep(settings, batches, "lora", choice)),
      ];
      await field.compare(
        "HiRA's step over LoRA's, 8 x 128",
        lora,
        hira,
        lines,
        "first over second",
      );
      if (hira && lora)
        await report.peaks(
          "HiRA's peak over LoRA's, 8 x 128",
          [hira.label, lora.label],
          [hira.peakBytes, lora.peakBytes],
        );
      field.closeAll();
    }
    const plain = await field.start(ourStep(settings, batches, "hira", undefined));
    const best =
      settings.best === undefined
        ? plain
        : await field.start(ourStep(settings, batches, "hira", settings.best));
    const eager = await field.fastest(
      [
        ...precisions.map((precision) => peerStep(settings, batches, "original", precision)),
        ...precisions.map((precision) => peerStep(settings, batches, "peft-hira", precision)),
        peerStep(settings, batches, "original", "bf16", { attention: "eager" }),
        peerStep(settings, batches, "original", "fp32", { attention: "eager" }),
      ],
      lines,
      { any, fp32: (label) => label.includes("fp32") },
    );
    await field.compare("8 x 128 all labelled against PyTorch eager", best, eager.any, lines);
    await field.compare(
      "8 x 128 all labelled, fp32 on the default device, against PyTorch eager fp32",
      plain,
      eager.fp32,
      lines,
    );
    const pairs = [
      [best, eager.any],
      [plain, eager.fp32],
    ] as const;
    for (const [mine, theirs] of new Set(pairs[0][0] === plain ? pairs.slice(1) : pairs))
      if (mine && theirs)
        await report.peaks(
          "peak memory of 8 x 128 over PyTorch eager's",
          [mine.label, theirs.label],
          [mine.peakBytes, theirs.peakBytes],
        );
    for (const each of new Set([eager.any, eager.fp32])) if (each) field.close(each);
    const compiled = await field.fastest(
      (settings.quick ? (["bf16"] as const) : (["bf16", "autocast"] as const)).map((precision) =>
        peerStep(settings, batches, "original", precision, { compile: true }),
      ),
      lines,
      { any },
    );
    await field.compare("8 x 128 all labelled against torch.compile", best, compiled.any, lines);
  });

/** 2 x 2,048, every token labelled. */
export const longCases = (context: AllContext): Promise<void> =>
  withField(context, async (field) => {
    const { settings } = context;
    const batches = await writeRandom(context, 2, 2048, 1);
    const ours = await field.start(ourStep(settings, batches, "hira", settings.best));
    const theirs = await field.fastest(
      [
        peerStep(settings, batches, "original", "bf16"),
        ...(settings.quick
          ? []
          : [
              peerStep(settings, batches, "original", "autocast"),
              peerStep(settings, batches, "original", "bf16", { compile: true }),
            ]),
      ],
      1,
      { any },
    );
    await field.compare("2 x 2,048 against PyTorch", ours, theirs.any, 1);
  });

/** Prompts of PIQA's test rows. */
export const decodeCases = async (context: AllContext): Promise<void> => {
  const { settings } = context;
  const { rows } = await loadSplit(findSingleDataset("piqa"), "test", { root: settings.dataDir });
  const tokenizer = await loadTokenizer(settings.model);
  const prompts = rows
    .slice(0, 16)
    .map(({ context: text }) =>
      tokenizer.encode(`${tokenizer.bosToken ?? ""}${contextText(templates[4], text)}`),
    );
  const { padId } = tokenizer;
  const cases = [
    ["beam 4 x 16 against HF generate", prompts, { numBeams: 4, maxNewTokens: 16, padId }],
    [
      "greedy, batch 1, against HF generate",
      prompts.slice(0, 1),
      { numBeams: 1, maxNewTokens: 32, padId },
    ],
  ] as const;
  for (const [name, texts, decoding] of cases)
    await withField(context, async (field) => {
      const { model, threads } = settings;
      const common = { model, threads, prompts: texts, settings: decoding };
      const ours = await field.fastest(
        choicesOf(settings).map((choice) => ({
          label: `hira, ${wordsOf(choice)}`,
          program: "decode" as const,
          options: { ...common, ...(choice && { choice }) },
        })),
        1,
        { any },
      );
      const theirs = await field.fastest(
        (["fp32", "bf16"] as const).map((precision) => ({
          label: `HF generate, ${precision}`,
          program: "peer" as const,
          options: { kind: "decode" as const, precision, ...common },
        })),
        1,
        { any },
      );
      await field.compare(name, ours.any, theirs.any, 1);
    });
};
