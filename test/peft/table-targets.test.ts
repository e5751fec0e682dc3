import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { analyseAdapter } from "../../src/runs/adapter-analysis.js";
import { float32Tensors } from "../../src/models/weights/frozen-weights.js";
import { readAdapter } from "../../src/peft/adapter-files.js";
import { buildAdapter } from "../../src/peft/build-adapter.js";
import type { PeftType } from "../../src/peft/registry.js";
import { LossSession } from "../../src/train/loss-session.js";
import {
  drawnStore,
  largestDifference,
  loadTinyBase,
  startStore,
} from "../support/adapted-model.js";
import { loadAdapterBase, peftFixture } from "../support/adapter-base.js";
import { defaultAdapterSettings } from "../support/adapter-settings.js";
import { runHira } from "../support/run-hira.js";
import { checkGreedyDecoding } from "../support/greedy-decoding.js";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";
import { forwardLogits } from "../support/forward-logits.js";

const ids = [1, 5, 9, 13, 2, 7];
const targetModules = "q_proj,embed_tokens,lm_head";

const open = async (peftType: PeftType, base = "base", settings = {}) => {
  const model = await loadTinyBase(base);
  const given = { ...defaultAdapterSettings, targetModules, ...settings };
  return { model, adapter: buildAdapter(peftType, model.model, given, new Set()) };
};

for (const peftType of ["lora", "dora"] as const)
  for (const base of ["base", "base-tied"])
    test(`decoding adapts embedding and head, merged and not: ${peftType} on ${base} (9.20)`, async (t) => {
      const { model, adapter } = await open(peftType, base);
      const adapted = { adapter, values: drawnStore(adapter, model).values };
      for (const memoryBytes of [0, 2 ** 30])
        await checkGreedyDecoding(t, { model, adapted }, { ids, tokens: 4, memoryBytes });
    });

test("an adapter starts on the embedding as peft's does: A zero, B normal (9.20)", async (t) => {
  const { model, adapter } = await open("dora");
  const { values } = startStore(adapter, model);
  const data = (name: string) => values.get(`model.embed_tokens.${name}`);
  t.deepEqual(data("A")?.shape, [2, 16]);
  t.true((data("A")?.data as Float32Array).every((x) => x === 0));
  t.deepEqual(data("B")?.shape, [8, 2]);
  t.true((data("B")?.data as Float32Array).some((x) => Math.abs(x) > 0.5));
  const table = float32Tensors(model.weights)("model.embed_tokens.weight");
  const norm = Math.hypot(...Array.from({ length: 16 }, (_, token) => table[token * 8 + 3] ?? NaN));
  t.true(Math.abs((data("magnitude")?.data[3] as number) - norm) < 1e-6);
});

test("the head's dropout is the same however many parts its rows are computed in (9.20)", async (t) => {
  const { model, adapter } = await open("lora", "base", { dropout: 0.4 });
  const store = drawnStore(adapter, model);
  const [batch, seq] = [2, 12];
  const tokens = Array.from({ length: batch * seq }, (_, i) => (7 * i + 3) % 16);
  const rows = {
    batch,
    seq,
    inputIds: BigInt64Array.from(tokens, BigInt),
    attentionMask: new Uint8Array(batch * seq).fill(1),
    labels: Int32Array.from(tokens, (id, i) => (i % 3 === 0 ? -100 : id)),
  };
  const losses: number[] = [];
  const gradients: Float32Array[] = [];
  for (const chunks of [1, 3]) {
    for (const { data } of store.gradients.values()) (data as Float32Array).fill(0);
    const session = await LossSession.create(
      {
        ...{ model: model.model, adapter, maxPositions: seq, chunks },
        ...{ gradients: true, recomputeLayers: false, drops: true },
      },
      model.weights,
      store,
    );
    const draw = { seed: 3, step: 1, microBatch: 0 };
    losses.push((await session.run(rows, 0.1, { draw })).loss);
    session.dispose();
    gradients.push((store.gradients.get("lm_head.A")?.data as Float32Array).slice());
  }
  const [[whole = NaN, parts = NaN], [one, three]] = [losses, gradients];
  t.true(Math.abs(whole - parts) < 1e-5 * Math.abs(whole));
  t.true(largestDifference(one ?? [], three ?? []) < 1e-5);
});

test("rank and norm of what an adapter adds to embedding and head are found (9.20)", async (t) => {
  const { model, adapter } = await open("lora", "base-tied");
  const { values } = drawnStore(adapter, model);
  const progress = { decoding: () => ({ advance: () => undefined, done: () => undefined }) };
  const options = { rank: true, norm: true, progress };
  const { modules } = await analyseAdapter(model.weights, { adapter, values }, options);
  t.deepEqual(
    modules.slice(-2).map(({ module, shape, rank }) => ({ module, shape, rank })),
    ["model.embed_tokens", "lm_head"].map((module) => ({ module, shape: [16, 8], rank: 2 })),
  );
});

test("other methods leave embedding and head alone, by name (9.20)", async (t) => {
  for (const peftType of ["hira", "mora", "hilora", "sparse-lora"] as const) {
    const error = await t.throwsAsync(open(peftType), { instanceOf: UserError });
    t.regex(
      error.message,
      new RegExp(
        `--peft_type=${peftType} on model.embed_tokens and lm_head: expected lora, rslora`,
      ),
    );
    t.regex(error.hint ?? "", /--modules_to_save=embed_tokens,lm_head/);
  }
  // A config that names them for HiRA, which peft has.
  const folder = await makeTempFolder(t);
  await cp(peftFixture("hira"), folder, { recursive: true });
  const path = join(folder, "adapter_config.json");
  const config = JSON.parse(await readFile(path, "utf8")) as object;
  await writeFile(path, JSON.stringify({ ...config, target_modules: ["q_proj", "lm_head"] }));
  const error = await t.throwsAsync(readAdapter(folder, await loadAdapterBase()), {
    instanceOf: UserError,
  });
  t.regex(error.message, /"target_modules": found lm_head, expected other modules: only LoRA/);
});

test("a run trains them, saves peft's form, goes on and is merged (9.20)", async (t) => {
  const folder = await makeTempFolder(t);
  const rows = await writeTinyRows(folder);
  const flags = tinyRunFlags(rows).map((flag) =>
    flag.startsWith("--model=") ? `--model=${peftFixture("base-tied")}` : flag,
  );
  const run = await trainTiny(
    t,
    join(folder, "runs"),
    ...[...flags, "--peft_type=dora", `--target_modules=${targetModules}`],
    ...["--lora_dropout=0.1", "--use_rslora"],
  );
  const merged = join(folder, "merged");
  const merging = await runHira("merge", `--ckpt=${run}`, `--out=${merged}`);
  t.is(merging.code, 0, merging.err);
  const [a, b, plain] = [
    await forwardLogits(t, ids, `--ckpt=${run}`),
    await forwardLogits(t, ids, `--model=${merged}`),
    await forwardLogits(t, ids, `--model=${peftFixture("base-tied")}`),
  ];
  t.true(largestDifference(a.logits, b.logits) < 1e-5);
  t.true(largestDifference(a.logits, plain.logits) > 1e-3);
});
