import { didYouMean, UserError } from "../core/errors.js";
import { findDataset } from "../datasets/registry.js";
import type { Licence } from "../datasets/source.js";
import { isSourceName, sourceNames, type SourceName } from "../datasets/sources.js";

const groupName = "common_all";
const eightSets = (): readonly string[] => {
  const found = findDataset(groupName);
  return found.kind === "group" ? found.members : [];
};

/** Names of sets as somebody wrote them; common_all stands for its eight. @throws {UserError} naming all that are unknown */
export const readSourceNames = (words: readonly string[]): readonly SourceName[] => {
  const names = words.flatMap((word) => (word === groupName ? eightSets() : [word]));
  const unknown = names.filter((name) => !isSourceName(name));
  if (unknown.length > 0) {
    const hints = unknown.flatMap((name) => didYouMean(name, sourceNames) ?? []);
    throw new UserError(
      `Cannot find the source of ${unknown.map((name) => JSON.stringify(name)).join(", ")}: expected some of ${sourceNames.join(", ")}, or ${groupName}`,
      hints.length > 0 ? [...new Set(hints)].join("\n") : undefined,
    );
  }
  return [...new Set(names.filter(isSourceName))];
};

/** What a licence asks for, in a sentence or two. */
export const licenceText = ({ name, url, forbids, isRead }: Licence): string =>
  [
    `licence ${name}${url === undefined ? "" : ` (${url})`}.`,
    ...(forbids === undefined ? [] : [forbids]),
    ...(isRead ? [] : ["This is from general knowledge: read it before you publish anything."]),
  ].join(" ");
