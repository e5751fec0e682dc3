import { kaimingUniform, zeros, type Initializer } from "../init.js";
import { defineOptions } from "../option-group.js";

/** The start values that --init_ab names. */
export const namedInitializers: Readonly<Record<string, Initializer>> = {
  kaiming: kaimingUniform,
  zero: zeros,
};

const names = Object.keys(namedInitializers);

const initializer = (name: string): Initializer => namedInitializers[name] ?? kaimingUniform;

/** --init_ab and --train_ab: how A and B start, and which of them train. */
export const initializationOptions = defineOptions({
  phase: "start",
  flags: {
    init_ab: {
      kind: "text",
      list: true,
      group: "Model and method",
      placeholder: "A,B",
      default: "kaiming,zero",
      help: `Start values of A and of B, each one of ${names.join(", ")}`,
    },
    train_ab: {
      kind: "text",
      group: "Model and method",
      placeholder: "yn",
      default: "yy",
      help: "Whether A and B are trained, a letter each: y or n",
    },
  },
  read({ init_ab: init, train_ab: train }, { compat, faults }) {
    const given = init.split(",").map((name) => name.trim());
    const [A = "", B = ""] = given;
    const fault = (expected: string) =>
      faults.push({ what: "--init_ab", found: JSON.stringify(init), expected });
    const isKnown = given.length === 2 && given.every((name) => name in namedInitializers);
    if (!isKnown) fault(`two of ${names.join(", ")} with a comma between them`);
    else if (!compat.has("init") && A === "zero" && B === "zero")
      fault("one of the two not to be zero: else both gradients stay zero");
    if (!/^[yn]{2}$/.test(train) || train === "nn")
      faults.push({
        what: "--train_ab",
        found: JSON.stringify(train),
        expected: "yy, yn or ny: a letter for A and one for B",
      });
    const asOriginal = isKnown && compat.has("init");
    return {
      initA: asOriginal ? kaimingUniform : initializer(A),
      initB: asOriginal ? zeros : initializer(B),
      trainA: train.startsWith("y"),
      trainB: train.endsWith("y"),
    };
  },
});

/** How A and B of one module start, and whether they train. */
export type InitializationOptions = (typeof initializationOptions)["defaults"];

const nameOf = (init: Initializer): string =>
  names.find((name) => namedInitializers[name] === init) ?? "";

/** The options in the words of --init_ab and --train_ab. */
export const initializationWords = ({
  initA,
  initB,
  trainA,
  trainB,
}: InitializationOptions): { readonly init: string; readonly train: string } => ({
  init: `${nameOf(initA)},${nameOf(initB)}`,
  train: `${trainA ? "y" : "n"}${trainB ? "y" : "n"}`,
});
