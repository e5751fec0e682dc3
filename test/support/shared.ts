import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ExecutionContext, ImplementationFn } from "ava";
import test from "ava";

/** The path of `relative` in the `shared` folder beside the repository, or undefined where it is not there. */
export const sharedPath = (relative: string): string | undefined => {
  const path = fileURLToPath(new URL(`../../../shared/${relative}`, import.meta.url));
  return existsSync(path) ? path : undefined;
};

/**
 * Registers a test that reads `shared/<relative>`; without it the test is skipped, and its title says why.
 *
 * `body` gets the path of that file or folder.
 */
export const testWithShared = (
  title: string,
  relative: string,
  body: (t: ExecutionContext, path: string) => Promise<void> | void,
): void => {
  const path = sharedPath(relative);
  if (path === undefined) {
    test.skip(
      `${title} (shared/${relative} is not there)`,
      (() => undefined) as ImplementationFn<[]>,
    );
    return;
  }
  test(title, (t) => body(t, path));
};
