import { existsSync } from "node:fs";
import type { GivenFlags } from "../runs/recorded-flags.js";
import { effectiveLoadBit } from "./storage-options.js";

/**
 * The model that --model names. A default that nobody wrote counts only where a model is needed that no --ckpt or --adapter brings with it,
 * and a folder of that name is there; else undefined.
 */
export const chosenModel = (
  values: {
    readonly model_name: string | null;
    readonly ckpt?: string | null;
    readonly adapter?: string | null;
  },
  given: ReadonlySet<string>,
): string | undefined => {
  const { model_name: name, ckpt = null, adapter = null } = values;
  if (name === null || given.has("model_name")) return name ?? undefined;
  return (ckpt ?? adapter) === null && existsSync(name) ? name : undefined;
};

/** The flags that somebody wrote with their effective values, by their names. */
export const readGivenFlags = (
  values: Readonly<Record<string, unknown>>,
  given: ReadonlySet<string>,
): GivenFlags =>
  Object.fromEntries(
    [...given].map((name) => [
      name,
      name === "load_bit"
        ? effectiveLoadBit((values.peft_type ?? null) as string | null, {
            load_bit: Number(values.load_bit),
          })
        : values[name],
    ]),
  );
