import type { UnknownTokens, Vocabulary } from "../core/unknown-tokens.js";
import type { DataCheck } from "../datasets/check-rows.js";
import type { Split } from "../datasets/rows.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";
import type { DataSettings } from "../train/loaded-data.js";

/** What is checked, as a run would be given it. */
export interface CheckDataOptions extends DataSettings {
  readonly batch: number;
  /** The model whose tokenizer makes tokens of texts, a folder or a name; without one, texts alone are compared. */
  readonly modelName: string | undefined;
}

/** A split that a run would look for in vain. */
export interface MissingSplit {
  readonly split: Split;
  /** What loading it says. */
  readonly why: string;
}

/** One data set as checked. */
export interface CheckedData extends DataCheck {
  /** The name of --dataset, or the file. */
  readonly name: string;
  /** What the rows of a file were taken for. */
  readonly remarks: readonly string[];
  readonly missing: readonly MissingSplit[];
  /** Rows with tokens that the model has no embedding for: a run stops there. */
  readonly unknownTokens: readonly UnknownTokens[];
  /** What a run would warn of. */
  readonly warnings: readonly string[];
}

/** What a model's folder says of tokens. */
export interface CheckCoder {
  readonly tokenizer: Tokenizer | undefined;
  readonly vocabulary: Vocabulary;
  /** Of the model; undefined where no config says. */
  readonly positions: number | undefined;
}

/** A check with what else is known of the data; missing splits and unknown tokens make it wrong. */
export const withFaults = (
  name: string,
  checked: DataCheck,
  others: Partial<Pick<CheckedData, "remarks" | "missing" | "unknownTokens" | "warnings">>,
): CheckedData => {
  const { remarks = [], missing = [], unknownTokens = [], warnings = [] } = others;
  return {
    ...checked,
    ...{ name, remarks, missing, unknownTokens, warnings },
    isWrong: checked.isWrong || missing.length > 0 || unknownTokens.length > 0,
  };
};
