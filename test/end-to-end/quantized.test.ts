import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
} from "../../src/models/weights/safetensors.js";
import { peftFixture } from "../support/adapter-base.js";
import { largestDifference } from "../support/adapted-model.js";
import { runHira } from "../support/run-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const model = `--model=${peftFixture("base")}`;

const writeRows = async (folder: string): Promise<string> => {
  const path = join(folder, "rows.jsonl");
  const rows = Array.from({ length: 4 }, (_, row) => {
    const ids = Array.from({ length: 6 }, (_unused, i) => 4 + ((5 * row + 3 * i) % 12));
    return JSON.stringify({ input_ids: ids, labels: ids.map((id, i) => (i < 2 ? -100 : id)) });
  });
  await writeFile(path, rows.join("\n"));
  return path;
};

const train = async (t: ExecutionContext, folder: string, ...flags: readonly string[]) => {
  const rows = await writeRows(folder);
  const { code, out, err } = await runHira(
    "train",
    model,
    `--dataset=${rows}`,
    `--output_folder=${join(folder, "runs")}`,
    ...["--eval_strategy=no", "--batch=2", "--epoch=3", "--lr=0.05", "--warmup=1", "--r_ab=2"],
    ...["--target_modules=q_proj,k_proj,up_proj,down_proj", ...flags],
  );
  t.is(code, 0, err);
  return { rows, runFolder: /Run folder: (.*)/.exec(out)?.[1] ?? "" };
};

const forward = async (t: ExecutionContext, folder: string, ...flags: readonly string[]) => {
  const out = join(folder, `${String(flags.length)}.safetensors`);
  const { code, err } = await runHira("forward", `--out=${out}`, ...flags);
  t.is(code, 0, err);
  const { entries } = await readSafetensorsHeader(out);
  const logits = entries.get("logits");
  return logits ? readTensorAsFloat32(logits) : new Float32Array();
};

const checkpointOf = async (runFolder: string): Promise<string> => {
  const name = (await readdir(runFolder)).find((each) => each.startsWith("checkpoint-"));
  return join(runFolder, name ?? "");
};

const cases: Readonly<
  Record<string, { readonly flags: readonly string[]; readonly storage: readonly string[] }>
> = {
  lora: { flags: ["--peft_type=qlora"], storage: ["--load_bit=4"] },
  hira: {
    flags: ["--peft_type=qlora", "--qlora_adapter=hira", "--quant_type=fp4"],
    storage: ["--load_bit=4", "--quant_type=fp4"],
  },
  dora: {
    flags: ["--peft_type=qlora", "--qlora_adapter=dora", "--double_quant=no"],
    storage: ["--load_bit=4", "--double_quant=no"],
  },
  "hira in 8 bits": { flags: ["--peft_type=hira", "--load_bit=8"], storage: ["--load_bit=8"] },
};

for (const [name, { flags, storage }] of Object.entries(cases))
  test(`what was trained on a quantized base is opened on the same base: ${name}`, async (t) => {
    const folder = await makeTempFolder(t);
    const { rows, runFolder } = await train(t, folder, ...flags);
    const input = `--input=${rows}`;
    // The run knows its base; a plain adapter is told.
    const ofRun = await forward(t, folder, `--ckpt=${runFolder}`, input);
    const adapter = join(folder, "adapter");
    await cp(await checkpointOf(runFolder), adapter, { recursive: true });
    const onSame = await forward(t, folder, `--ckpt=${adapter}`, input, model, ...storage);
    t.deepEqual([...ofRun], [...onSame]);
    const onFloats = await forward(t, folder, `--ckpt=${adapter}`, input, model);
    t.true(largestDifference(ofRun, onFloats) > 1e-4);
  });

test("hira train writes a plain peft adapter for qlora, and records the base's storage", async (t) => {
  const folder = await makeTempFolder(t);
  const { runFolder } = await train(t, folder, "--peft_type=qlora");
  t.regex(runFolder, /-qlora-lr=5\.00e-02-4bit-/);
  const config = JSON.parse(
    await readFile(join(await checkpointOf(runFolder), "adapter_config.json"), "utf8"),
  ) as object;
  t.like(config, { peft_type: "LORA", use_dora: false, r: 2 });
  const run = JSON.parse(await readFile(join(runFolder, "run.json"), "utf8")) as object;
  t.like(run, {
    flags: { peft_type: "qlora", load_bit: 4 },
    model: {
      quantization_config: {
        quant_method: "bitsandbytes",
        load_in_4bit: true,
        load_in_8bit: false,
        bnb_4bit_quant_type: "nf4",
        bnb_4bit_use_double_quant: true,
      },
    },
  });
  const [line = ""] = (await readFile(join(runFolder, "output.jsonl"), "utf8")).split("\n");
  t.like(JSON.parse(line), { peft_type: "qlora", load_bit: 4 });
});

test("hira generate decodes on a quantized base", async (t) => {
  const folder = await makeTempFolder(t);
  const { rows, runFolder } = await train(t, folder, "--peft_type=qlora");
  const out = join(folder, "answers.jsonl");
  const { code, err } = await runHira(
    "generate",
    `--ckpt=${runFolder}`,
    `--input=${rows}`,
    `--out=${out}`,
    "--max_new_tokens=2",
  );
  t.is(code, 0, err);
  t.is((await readFile(out, "utf8")).trim().split("\n").length, 4);
});

test("--optim=paged_adamw_32bit trains to the same bits as adamw_torch", async (t) => {
  const weights = async (optim: string) => {
    const folder = await makeTempFolder(t);
    const { runFolder } = await train(t, folder, "--peft_type=hira", "--seed=3", optim);
    return readFile(join(await checkpointOf(runFolder), "adapter_model.safetensors"));
  };
  t.deepEqual(await weights("--optim=paged_adamw_32bit"), await weights("--optim=adamw_torch"));
});

test("hira merge writes the numbers of a quantized base, and unmerging gives the original base back", async (t) => {
  const folder = await makeTempFolder(t);
  const { rows, runFolder } = await train(t, folder, "--peft_type=qlora", "--qlora_adapter=hira");
  const merged = join(folder, "merged");
  const { code, out, err } = await runHira("merge", `--ckpt=${runFolder}`, `--out=${merged}`);
  t.is(code, 0, err);
  t.regex(out, /The base is held quantized: 14 tensors are written as the numbers/);
  const input = `--input=${rows}`;
  const beside = await forward(t, folder, `--ckpt=${runFolder}`, input);
  const alone = await forward(t, folder, `--model=${merged}`, input, "--load_bit=32");
  t.true(largestDifference(beside, alone) < 1e-5);
  const restored = join(folder, "restored");
  const back = await runHira(
    "merge",
    `--unmerge=${merged}`,
    `--ckpt=${runFolder}`,
    `--out=${restored}`,
  );
  t.is(back.code, 0, back.err);
  t.deepEqual(
    await readFile(join(restored, "model.safetensors")),
    await readFile(join(peftFixture("base"), "model.safetensors")),
  );
});

test("hira merge refuses to merge a quantized base in place", async (t) => {
  const folder = await makeTempFolder(t);
  const { runFolder } = await train(t, folder, "--peft_type=qlora");
  const { code, err } = await runHira(
    "merge",
    `--ckpt=${runFolder}`,
    `--out=${peftFixture("base")}`,
  );
  t.is(code, 2);
  t.regex(err, /Cannot merge in place: found a model in /);
});
