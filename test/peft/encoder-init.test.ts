import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  writeSafetensors,
} from "../../src/models/weights/safetensors.js";
import { largestDifference } from "../support/adapted-model.js";
import { peftFixture } from "../support/adapter-base.js";
import { forwardLogits, peftLogits } from "../support/forward-logits.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, writeTinyRows } from "../support/tiny-runs.js";

/** What scripts/reference/peft_encoders.py has made with peft. */
const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/peft-encoders/${name}`, import.meta.url));

const reference = JSON.parse(readFileSync(fixture("logits.json"), "utf8")) as {
  readonly input_ids: readonly number[];
  readonly logits: Readonly<Record<string, readonly number[]>>;
};

const encoder = "--encoder_hidden_size=5";
const flagsOf: Readonly<Record<string, readonly string[]>> = {
  "p-tuning": ["--peft_type=p-tuning", encoder],
  "p-tuning-lstm": ["--peft_type=p-tuning", encoder, "--encoder_reparameterization_type=LSTM"],
  prefix: ["--peft_type=prefix"],
  "prefix-projection": ["--peft_type=prefix", encoder, "--prefix_projection"],
  "prompt-tuning": ["--peft_type=prompt-tuning"],
};

for (const [name, expected] of Object.entries(reference.logits))
  test(`--adapter_init takes peft's encoder by its names, with and without their prefix: ${name} (9.40)`, async (t) => {
    const file = fixture(`${name}.safetensors`);
    const { entries } = await readSafetensorsHeader(file);
    const bare = join(await makeTempFolder(t), "bare.safetensors");
    const tensors = [...entries.values()].map(async (entry) => ({
      name: entry.name.replace("prompt_encoder.default.", ""),
      dtype: "float32" as const,
      shape: entry.shape,
      data: await readTensorAsFloat32(entry),
    }));
    await writeSafetensors(bare, await Promise.all(tensors));
    for (const init of [file, bare]) {
      const flags = [...(flagsOf[name] ?? []), "--virtual_tokens=3", `--adapter_init=${init}`];
      const model = `--model=${peftFixture("base")}`;
      const { logits, err } = await forwardLogits(t, reference.input_ids, model, ...flags);
      t.true(largestDifference(logits, expected) < 1e-4, init);
      t.notRegex(err, /are no parameters of this run/);
    }
  });

test("--adapter_init takes peft's adapter on embedding and head, beside copies of the base's own (9.20)", async (t) => {
  const files = [
    join(peftFixture("lora-embedding"), "adapter_model.safetensors"),
    join(peftFixture("base"), "model.safetensors"),
  ];
  const tensors = [];
  for (const file of files)
    for (const entry of (await readSafetensorsHeader(file)).entries.values()) {
      const { shape } = entry;
      const copy = /^(model\.embed_tokens|lm_head)\.weight$/.exec(entry.name)?.[1];
      if (!entry.name.startsWith("base_model.") && copy === undefined) continue;
      const name = copy ? `base_model.model.${copy}.base_layer.weight` : entry.name;
      const data = await readTensorAsFloat32(entry);
      tensors.push({ name, dtype: "float32" as const, shape, data });
    }
  const init = join(await makeTempFolder(t), "init.safetensors");
  await writeSafetensors(init, tensors);
  const flags = [
    ...[`--model=${peftFixture("base")}`, "--peft_type=lora", "--r_ab=2", "--lora_alpha=6"],
    ...["--target_modules=q_proj,embed_tokens,lm_head", "--rank_pattern=embed_tokens=3"],
    `--adapter_init=${init}`,
  ];
  const { logits, err } = await forwardLogits(t, peftLogits.input_ids, ...flags);
  t.true(largestDifference(logits, peftLogits.logits["lora-embedding"] ?? []) < 1e-4);
  t.notRegex(err, /are no parameters of this run/);
});

test("a run starts from peft's encoder; one of another width is refused by its names (9.40)", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeTinyRows(folder);
  const init = `--adapter_init=${fixture("p-tuning.safetensors")}`;
  const flags = tinyRunFlags(rows).filter((flag) => !flag.startsWith("--r_ab"));
  const ofMethod = ["--peft_type=p-tuning", "--virtual_tokens=3", init];
  const out = `--output_folder=${join(folder, "runs")}`;
  const run = await runHira(...flags, ...ofMethod, encoder, out);
  t.is(run.code, 0, run.err);
  t.notRegex(run.err, /are no parameters of this run/);
  const wide = await runHira(...flags, ...ofMethod, "--encoder_hidden_size=6", out);
  t.is(wide.code, 2);
  t.regex(
    wide.err,
    /prompt_encoder\.default\.mlp_head\.0\.weight": found \[5, 8\], expected \[6, 8\]/,
  );
});
