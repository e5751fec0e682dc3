import { UserError, userErrorOfSystem } from "../core/errors.js";
import type { OutputStream, Painter } from "./style-text.js";

/**
 * Writes an error for the person at the terminal and returns the exit code.
 *
 * A UserError is `error: <message>` with its hint indented below, exit code 2; so is a call on the file system that has failed.
 * `prefix` stands before it. Anything else is a fault of the program: it keeps its stack, exit code 1.
 */
export const printError = (
  error: unknown,
  stream: OutputStream,
  paint: Painter,
  prefix = "",
): 1 | 2 => {
  const forPerson = error instanceof UserError ? error : userErrorOfSystem(error);
  if (forPerson) {
    const hint = forPerson.hint?.split("\n").map((line) => `  ${line}\n`) ?? [];
    stream.write(`${prefix}${paint("red", "error:")} ${forPerson.message}\n${hint.join("")}`);
    return 2;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  stream.write(
    `${prefix}${paint("red", "error:")} ${text}\n  This is a fault of hira: please report it with these lines and the command\n`,
  );
  return 1;
};
