import { userErrorOfFaults } from "../core/errors.js";
import { contentHash } from "../core/content-hash.js";
import type { ProcessGroup } from "../distributed/process-group.js";
import { readCodeVersion } from "../report/run-json.js";
import { partsOfModel, type Answerer } from "./kept-answers.js";

/**
 * That all processes have found the same, by what messages call it.
 *
 * @param purpose what they are about to do: "train"
 * @throws {UserError} naming which process differs in what; in all of them
 */
export const requireAlike = async (
  group: ProcessGroup,
  purpose: string,
  facts: () => Promise<Readonly<Record<string, unknown>>>,
): Promise<void> => {
  if (group.size === 1) return;
  const [first, ...others] = await group.gather(await facts());
  const faults = others.flatMap((found, i) =>
    Object.entries(first ?? {}).flatMap(([what, expected]) => {
      const [there, here] = [JSON.stringify(expected), JSON.stringify(found[what])];
      return there === here
        ? []
        : [`${what}: found ${here} in process ${String(i + 1)}, expected process 0's ${there}`];
    }),
  );
  if (faults.length > 0)
    throw userErrorOfFaults(
      `Cannot ${purpose} in several processes`,
      faults,
      "Every host needs the same program, model folder and data",
    );
};

/** Rows that are asked together, by what they are called. */
export interface AskedRows {
  readonly name: string;
  /** As they stand in the file. */
  readonly rows: readonly unknown[];
  readonly encoded: readonly { readonly ids: Int32Array }[];
}

/**
 * That all processes ask the same model the same, by the same settings and versions.
 *
 * @throws {UserError} as requireAlike
 */
export const requireSameAnswering = (
  group: ProcessGroup,
  { base, adapted }: Pick<Answerer, "base" | "adapted">,
  asked: readonly AskedRows[],
  settings: Readonly<Record<string, unknown>>,
): Promise<void> =>
  requireAlike(group, "answer", async () => ({
    "the model": contentHash(await partsOfModel({ base, adapted }, { times: false })),
    ...Object.fromEntries(
      asked.map(({ name, rows, encoded }) => [
        `the rows of ${name}`,
        contentHash([JSON.stringify(rows), JSON.stringify(encoded.map(({ ids }) => [...ids]))]),
      ]),
    ),
    ...settings,
    "the version of hira": await readCodeVersion(),
  }));
