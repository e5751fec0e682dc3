import { main } from "../../src/cli/main.js";

// The tests of a file run side by side, and every command line in this process listens for signals.
process.setMaxListeners(0);

/** Runs one command line in this process. */
export const runHira = async (
  ...argv: readonly string[]
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> => {
  let [out, err] = ["", ""];
  const code = await main(argv, {
    stdout: { write: (text: string) => ((out += text), true), isTTY: false },
    stderr: { write: (text: string) => ((err += text), true), isTTY: false },
  });
  return { code, out, err };
};
