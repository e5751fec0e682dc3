import { JsonFields, flag, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import {
  baseModelOf,
  checkOtherFields,
  checkTask,
  isEmpty,
  type AdapterFormat,
  type LowRankAdapter,
} from "./format.js";
import { hira, type HiraOptions } from "../hira.js";
import { defaultsOf } from "../method.js";
import { aliasesOf, lowRankFormat, lowRankTensors, rankOf } from "./low-rank.js";

const hiraOptions = ({ options }: LowRankAdapter): HiraOptions =>
  ({ ...defaultsOf(hira), ...options }) as HiraOptions;

/** Mixed ranks are written as peft means them; a later release may read them. */
const mixedRanksNote = ({ modules }: LowRankAdapter): string | undefined =>
  new Set([...modules.values()].map(rankOf)).size > 1
    ? "the peft package (0.21.2) makes every HiRA layer with rank r, whatever rank_pattern says, and does not load this"
    : undefined;

const noteOf = (note: string | undefined): JsonObject =>
  note === undefined ? {} : { hira_note: note };

const hiraFormat = ({
  peftType,
  title,
  randomR,
  note,
}: {
  readonly peftType: string;
  readonly title: string;
  readonly randomR: boolean;
  readonly note?: string;
}): AdapterFormat<LowRankAdapter> =>
  lowRankFormat({
    title,
    peftType,
    reads: (config) => config.peft_type === peftType,
    writes: (adapter) => adapter.method === hira.name && hiraOptions(adapter).randomR === randomR,
    suffixes: { A: "hira_A", B: "hira_B", ...(randomR && { R: "hira_R" }) },
    dropoutField: "hira_dropout",
    // It says how training began, and the weights are here.
    ownFields: ["init_weights"],
    parseOwn: () => ({ method: hira.name, options: { randomR } }),
    // peft 0.21.2 reads rank_pattern, but makes every HiRA layer with rank r (dispatch_default of tuners/hira/layer.py).
    otherReading: (config) =>
      isEmpty(config.rank_pattern ?? null) ? undefined : { ...config, rank_pattern: {} },
    ownConfig: (adapter) => ({
      ...noteOf(note ?? mixedRanksNote(adapter)),
      init_weights: true,
      peft_type: peftType,
    }),
  });

/** HiRA of the peft package: `hira_A` [rank, in], `hira_B` [out, rank]. Source: peft 0.21.2, tuners/hira. */
export const peftHira = hiraFormat({ peftType: "HIRA", title: "peft's HiRA", randomR: false });

/** peft has no R, and would leave it out without an error: a type that it does not know is refused there. */
export const hiraWithR = hiraFormat({
  peftType: "HIRA_RAND_R",
  title: "HiRA with --rand_R",
  randomR: true,
  note: "y = x W0^T + x (R * (B A))^T with a frozen random R; the peft package has no such method",
});

const authorsSuffixes = { A: "lora_A", B: "lora_B", R: "lora_R" };

/**
 * The HiRA authors' own files, which say LORA and differ from it by `r_ab`, and by names without `.weight`.
 *
 * Read as LoRA they would give wrong numbers without any error. Source: hqsiswiliam/hira, hira/tuners/lora.py.
 */
export const authorsHira: AdapterFormat<LowRankAdapter> = {
  title: "the authors' HiRA",
  peftType: "LORA",
  reads: (config) => config.peft_type === "LORA" && "r_ab" in config,
  parse(config, base, faults) {
    const fields = new JsonFields(config, "", faults);
    const rank = fields.number("r_ab", size);
    const names = fields.value("target_modules");
    const isList = Array.isArray(names) && names.every((name) => typeof name === "string");
    if (!isList) fields.fault("target_modules", "a list of names");
    // Unlike peft's, these names need no dot in front of them.
    const targets = base.modules.filter(
      ({ path, table }) =>
        table === undefined && isList && names.some((name) => path.endsWith(name)),
    );
    checkTask(fields, base);
    const withoutEffect = ["init_a", "init_b", "lora_alpha", "lora_dropout", "scale_ab"];
    const ofTraining = ["train_a", "train_b", "init_lora_weights", "r"];
    checkOtherFields(
      config,
      ["r_ab", "rand_R", "target_modules", "task_type", ...withoutEffect, ...ofTraining],
      fields,
    );
    return {
      method: hira.name,
      baseModel: baseModelOf(config),
      modules: new Map(targets.map(({ path }) => [path, { rank }])),
      options: { dropout: 0, randomR: fields.optional("rand_R", flag, false) },
    };
  },
  configOf() {
    throw new TypeError("Cannot write the authors' HiRA: expected peft's format");
  },
  tensors: (adapter, base) => lowRankTensors(adapter, base, { suffixes: authorsSuffixes }),
  aliases: aliasesOf(authorsSuffixes),
};
