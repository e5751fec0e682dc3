import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
} from "../../src/models/weights/safetensors.js";
import { peftFixture } from "./adapter-base.js";
import { runHira } from "./run-hira.js";
import { makeTempFolder } from "./temp-folder.js";

/** What transformers and peft compute with the fixtures of scripts/reference/peft_adapters.py. */
export const peftLogits = JSON.parse(readFileSync(peftFixture("logits.json"), "utf8")) as {
  readonly input_ids: readonly number[];
  /** [tokens * vocab] by fixture. */
  readonly logits: Readonly<Record<string, readonly number[]>>;
};

/** The logits [tokens, vocab] of what `flags` name on one row of ids, by `hira forward`; and what it says beside its output. */
export const forwardLogits = async (
  t: ExecutionContext,
  ids: readonly number[],
  ...flags: readonly string[]
): Promise<{ readonly logits: Float32Array; readonly err: string }> => {
  const folder = await makeTempFolder(t);
  const input = join(folder, "rows.jsonl");
  await writeFile(input, JSON.stringify({ input_ids: ids, labels: ids }));
  const out = join(folder, "out.safetensors");
  const { code, err } = await runHira("forward", `--input=${input}`, `--out=${out}`, ...flags);
  t.is(code, 0, err);
  const entry = (await readSafetensorsHeader(out)).entries.get("logits");
  return { logits: entry ? await readTensorAsFloat32(entry) : new Float32Array(), err };
};
