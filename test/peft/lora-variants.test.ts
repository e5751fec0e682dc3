import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { UserError } from "../../src/core/errors.js";
import { readAdapter } from "../../src/peft/adapter-files.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import type { LowRankAdapter } from "../../src/peft/formats/format.js";
import type { PeftType } from "../../src/peft/registry.js";
import { loadTinyBase } from "../support/adapted-model.js";
import { loadAdapterBase, peftFixture } from "../support/adapter-base.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { makeTempFolder } from "../support/temp-folder.js";

/** What reading one of peft's folders says, with some fields of its config changed. */
const messageOf = async (t: ExecutionContext, name: string, changes: object): Promise<string> => {
  const folder = await makeTempFolder(t);
  await cp(peftFixture(name), folder, { recursive: true });
  const path = join(folder, "adapter_config.json");
  const config = JSON.parse(await readFile(path, "utf8")) as object;
  await writeFile(path, JSON.stringify({ ...config, ...changes }));
  const reading = readAdapter(folder, await loadAdapterBase());
  return (await t.throwsAsync(reading, { instanceOf: UserError })).message;
};

const open = async (peftType: PeftType) => {
  const { model } = await loadTinyBase();
  return buildAdapter(
    peftType,
    model,
    { ...defaultAdapterSettings, rankStabilized: true },
    new Set(),
  );
};

test("variants of peft's LoRA that are not built are refused by their field, each alone (9.21)", async (t) => {
  const variants: Readonly<Record<string, unknown>> = {
    lora_bias: true,
    use_qalora: true,
    bias: "lora_only",
    trainable_token_indices: [1, 2],
    layer_replication: [[0, 2]],
    target_parameters: ["experts.gate_up_proj"],
    alora_invocation_tokens: [1],
    use_bdlora: { nblocks: 2 },
    arrow_config: { top_k: 3 },
    kasa_config: { rank: 2 },
    monteclora_config: { samples: 4 },
    init_lora_weights: "pissa_niter_16",
    layers_to_transform: "0",
    exclude_modules: 3,
    alpha_pattern: { q_proj: -1 },
    a_later_field: "on",
  };
  for (const fixture of ["lora", "dora-rslora"])
    for (const [field, value] of Object.entries(variants)) {
      const message = await messageOf(t, fixture, { [field]: value });
      t.true(message.includes(`"${field}": found `), `${field}: ${message}`);
    }
});

test("readAdapter reads DoRA with rsLoRA's scale (9.21)", async (t) => {
  const base = await loadAdapterBase();
  const { adapter } = await readAdapter(peftFixture("dora-rslora"), base);
  t.like(adapter, { method: "dora", options: { rankStabilized: true, dropout: 0.1 } });
  const { modules } = adapter as LowRankAdapter;
  t.deepEqual(modules.get("model.layers.1.self_attn.v_proj"), { rank: 3, alpha: 4 });
  t.deepEqual(modules.get("model.layers.0.mlp.down_proj"), { rank: 2, alpha: 5 });
});

test("all-linear is without embedding and head, whatever its case (9.21)", async (t) => {
  // The tensors of the other layers are what is missing.
  const message = await messageOf(t, "lora", { target_modules: "All-Linear" });
  t.regex(message, /k_proj\.lora_A\.weight": found nothing/);
  t.notRegex(message, /embed_tokens|lm_head/);
});

test("--use_rslora is lora's and dora's, and says so to the others (9.21)", async (t) => {
  const names: string[] = [];
  for (const peftType of ["lora", "rslora", "dora"] as const) {
    const { method, options } = await open(peftType);
    names.push(method.name);
    t.like(options, { rankStabilized: true });
  }
  t.deepEqual(names, ["rslora", "rslora", "dora"]);
  for (const peftType of ["hira", "mora", "prefix", "fft"] as const) {
    const error = await t.throwsAsync(open(peftType));
    t.regex(error.message, new RegExp(`--use_rslora with --peft_type=${peftType}: expected lora`));
  }
});
