import { didYouMean, UserError } from "../core/errors.js";
import type { LinearModule } from "../models/adapter.js";

/**
 * The modules whose path ends with one of the names of --target_modules.
 *
 * Names are split at commas and trimmed. `asWritten` keeps blanks, as the authors' program does (so that of
 * "q_proj, v_proj" only q_proj matches), and asks for one match in all.
 * @throws {UserError} listing the names that match nothing
 */
export const selectTargets = (
  modules: readonly LinearModule[],
  targetModules: string,
  { asWritten = false } = {},
): readonly LinearModule[] => {
  const names = targetModules.split(",").map((name) => (asWritten ? name : name.trim()));
  const matches = (module: LinearModule, name: string) => name !== "" && module.path.endsWith(name);
  const unmatched = names.filter((name) => !modules.some((module) => matches(module, name)));
  if (asWritten ? unmatched.length === names.length : unmatched.length > 0) {
    const known = [...new Set(modules.map(({ path }) => path.split(".").at(-1) ?? path))];
    const suggestions = unmatched
      .map((name) => didYouMean(name, known))
      .filter((text) => text !== undefined);
    throw new UserError(
      `Cannot adapt --target_modules: found ${unmatched.map((name) => JSON.stringify(name)).join(", ")}, which ${unmatched.length === 1 ? "matches" : "match"} no linear layer; expected names out of ${known.join(", ")}`,
      [...suggestions, "Names are matched against the end of a layer's path"].join(" "),
    );
  }
  return modules.filter((module) => names.some((name) => matches(module, name)));
};
