import { UserError } from "../core/errors.js";

/**
 * The cores of a list such as `0-3,8`, in its order.
 *
 * Source: parse_range_list of DeepSpeed's utils/numa.py: numbers and ranges, rising, without blanks.
 * @param what names the list in errors: "--bind_core_list"
 * @throws {UserError} on a list of another form
 */
export const parseCoreList = (text: string, what: string): readonly number[] => {
  const cores: number[] = [];
  for (const part of text.split(",")) {
    const [, first = "", last = first] = /^(\d+)(?:-(\d+))?$/.exec(part) ?? [];
    const isRising = Number(first) > (cores.at(-1) ?? -1) && Number(first) <= Number(last);
    if (first === "" || !isRising)
      throw new UserError(
        `Cannot use ${what}=${text}: found ${JSON.stringify(part)}, expected numbers and ranges that rise, such as 0-3,8`,
      );
    for (let core = Number(first); core <= Number(last); core++) cores.push(core);
  }
  return cores;
};

/** Process `localRank` of `localSize` on a host gets as many cores as each other one, in a row of the list. Empty where there are too few. */
export const coresOfRank = (
  cores: readonly number[],
  { localRank, localSize }: { readonly localRank: number; readonly localSize: number },
): readonly number[] => {
  const each = Math.floor(cores.length / localSize);
  return cores.slice(each * localRank, each * (localRank + 1));
};
