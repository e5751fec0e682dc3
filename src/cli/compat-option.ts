import { compatNames, type Compat, type CompatName } from "../core/compat.js";
import { didYouMean } from "../core/errors.js";
import type { FlagFault } from "../core/flag.js";

/** The behaviours that a --compat value switches on, or what is wrong with it. */
export const readCompat = (text: string | null, faults: FlagFault[]): Compat => {
  const names = (text ?? "").split(",").map((name) => name.trim());
  if (text === null) return new Set();
  if (names.includes("reference")) {
    if (names.length === 1) return new Set(compatNames);
    faults.push({ what: "--compat", found: JSON.stringify(text), expected: "reference alone" });
  }
  const known: readonly string[] = compatNames;
  for (const name of names) {
    if (known.includes(name) || name === "reference") continue;
    const hint = didYouMean(name, ["reference", ...compatNames]);
    faults.push({
      what: "--compat",
      found: JSON.stringify(name),
      expected: `reference, or some of ${compatNames.join(", ")}`,
      ...(hint === undefined ? {} : { hint }),
    });
  }
  return new Set(names as CompatName[]);
};
