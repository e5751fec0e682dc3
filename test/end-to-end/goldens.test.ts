import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
  readTensorData,
} from "../../src/models/weights/safetensors.js";
import { readMetrics } from "../../src/report/metrics.js";
import { runHira } from "../support/run-hira.js";
import { testWithShared } from "../support/shared.js";
import { makeTempFolder } from "../support/temp-folder.js";

const TARGETS = "--target_modules=q_proj,k_proj,v_proj,up_proj,down_proj";

/** The goldens' batch as the rows that `hira` reads, in `folder`. */
const writeRows = async (goldens: string, folder: string): Promise<string> => {
  const { entries } = await readSafetensorsHeader(join(goldens, "batch.safetensors"));
  const read = async (name: string) => {
    const entry = entries.get(name);
    if (!entry) throw new Error(`no ${name}`);
    return Array.from((await readTensorData(entry)) as BigInt64Array, Number);
  };
  const [ids, mask, labels] = [
    await read("input_ids"),
    await read("attention_mask"),
    await read("labels"),
  ];
  const path = join(folder, "rows.jsonl");
  const rows = [0, 1, 2, 3].map((row) => {
    const part = (list: readonly number[]) => list.slice(24 * row, 24 * (row + 1));
    return JSON.stringify({
      input_ids: part(ids),
      attention_mask: part(mask),
      labels: part(labels),
    });
  });
  await writeFile(path, rows.join("\n"));
  return path;
};

const readTensor = async (path: string, name: string): Promise<Float32Array> => {
  const entry = (await readSafetensorsHeader(path)).entries.get(name);
  if (!entry) throw new Error(`no ${name} in ${path}`);
  return readTensorAsFloat32(entry);
};

/** |a - b| / |b|, over all elements. */
const distance = (a: Float32Array, b: Float32Array): number => {
  const norm = (values: Float32Array) => Math.hypot(...values);
  return norm(b.map((x, i) => (a[i] ?? NaN) - x)) / (norm(b) || 1);
};

interface Golden {
  readonly loss: readonly number[];
  readonly grad_norm: readonly number[];
  readonly lr: readonly number[];
}

const checkTraining = async (
  t: ExecutionContext,
  goldens: string,
  method: "hira" | "full",
  flags: readonly string[],
): Promise<string> => {
  const folder = await makeTempFolder(t);
  const rows = await writeRows(goldens, folder);
  const { code, out, err } = await runHira(
    `--model=${join(goldens, "tiny-llama")}`,
    `--dataset=${rows}`,
    ...["--eval_strategy=no", "--shuffle=false", "--batch=4", "--epoch=20"],
    ...[
      "--lr=1e-3",
      "--warmup=5",
      "--weight_decay=0.01",
      "--seed=1",
      `--output_folder=${folder}/runs`,
    ],
    ...flags,
  );
  t.is(code, 0, err);
  const runFolder = /Run folder: (.*)/.exec(out)?.[1] ?? "";
  const stored = JSON.parse(await readFile(join(goldens, "training.json"), "utf8")) as {
    readonly methods: Readonly<Record<string, Golden>>;
  };
  const golden = stored.methods[method];
  const metrics = await readMetrics(join(runFolder, "metrics.jsonl"));
  t.is(metrics.length, 20);
  for (const [i, { loss, gradNorm, lr, tokens, paddedTokens }] of metrics.entries()) {
    t.true(Math.abs(loss / (golden?.loss[i] ?? NaN) - 1) < 2e-5, `loss of step ${String(i)}`);
    t.true(
      Math.abs(gradNorm / (golden?.grad_norm[i] ?? NaN) - 1) < 1e-4,
      `norm of step ${String(i)}`,
    );
    t.true(Math.abs(lr - (golden?.lr[i] ?? NaN)) < 1e-12);
    t.deepEqual([tokens, paddedTokens], [72, 96]);
  }
  return runFolder;
};

testWithShared("hira train repeats PyTorch's 20 steps of HiRA", "goldens", async (t, goldens) => {
  const init = join(goldens, "init.safetensors");
  const runFolder = await checkTraining(t, goldens, "hira", [
    ...["--peft_type=hira", "--r_ab=8", TARGETS, `--adapter_init=${init}`],
  ]);
  const adapter = join(runFolder, "checkpoint-20", "adapter_model.safetensors");
  const { entries } = await readSafetensorsHeader(adapter);
  t.is(entries.size, 20);
  for (const name of entries.keys()) {
    const ours = name.replace("base_model.model.", "").replace(".hira_", ".");
    const expected = await readTensor(join(goldens, "final_weights.safetensors"), `hira/${ours}`);
    t.true(distance(await readTensor(adapter, name), expected) < 1e-3, ours);
  }
});

testWithShared(
  "hira train repeats PyTorch's 20 steps of full fine-tuning",
  "goldens",
  async (t, goldens) => {
    const runFolder = await checkTraining(t, goldens, "full", ["--peft_type=fft"]);
    const { entries } = await readSafetensorsHeader(
      join(runFolder, "checkpoint-20", "model.safetensors"),
    );
    t.is(entries.size, 21);
  },
);

testWithShared(
  "hira forward writes PyTorch's logits, loss and gradients",
  "goldens",
  async (t, goldens) => {
    const folder = await makeTempFolder(t);
    const rows = await writeRows(goldens, folder);
    const model = `--model=${join(goldens, "tiny-llama")}`;
    const out = join(folder, "out.safetensors");
    const plain = await runHira("forward", model, `--input=${rows}`, `--out=${out}`);
    t.is(plain.code, 0, plain.err);
    const base = await readTensor(join(goldens, "batch.safetensors"), "base_logits");
    const mask = (await readFile(rows, "utf8"))
      .split("\n")
      .flatMap((line) => (JSON.parse(line) as { attention_mask: number[] }).attention_mask);
    const real = (values: Float32Array) => values.filter((_, i) => mask[Math.floor(i / 256)] === 1);
    t.true(distance(real(await readTensor(out, "logits")), real(base)) < 1e-4);

    const init = join(goldens, "init.safetensors");
    const adapted = await runHira(
      ...[
        "forward",
        model,
        `--input=${rows}`,
        `--out=${out}`,
        "--peft_type=hira",
        "--r_ab=8",
        TARGETS,
      ],
      ...[`--adapter_init=${init}`, "--gradients", "--overwrite"],
    );
    t.is(adapted.code, 0, adapted.err);
    const { entries } = await readSafetensorsHeader(join(goldens, "first_gradients.safetensors"));
    const names = [...entries.keys()].filter((name) => name.startsWith("hira/start/"));
    t.is(names.length, 20);
    for (const name of names) {
      const expected = await readTensor(join(goldens, "first_gradients.safetensors"), name);
      const found = await readTensor(out, `grad.${name.replace("hira/start/", "")}`);
      t.true(distance(found, expected) < 1e-4, name);
    }
  },
);

interface BeamSet {
  readonly input_ids: readonly (readonly number[])[];
  readonly attention_mask: readonly (readonly number[])[];
  readonly cases: readonly {
    readonly num_beams: number;
    readonly num_return_sequences: number;
    readonly length_penalty: number;
    readonly no_repeat_ngram_size: number;
    readonly max_new_tokens: number;
    readonly new_tokens: readonly (readonly number[])[];
    readonly sequences_scores?: readonly number[];
  }[];
}

testWithShared(
  "hira generate writes transformers' tokens and scores",
  "goldens",
  async (t, goldens) => {
    const folder = await makeTempFolder(t);
    const beams = JSON.parse(await readFile(join(goldens, "beams.json"), "utf8")) as {
      sets: BeamSet[];
    };
    const [set] = beams.sets;
    if (!set) throw new Error("no set in beams.json");
    const input = join(folder, "prompts.jsonl");
    const rows = set.input_ids.map((ids, i) =>
      JSON.stringify({ input_ids: ids, attention_mask: set.attention_mask[i] }),
    );
    await writeFile(input, rows.join("\n"));
    // Every case of both sets goes through the engine in test/decode; here the command's own way is looked at.
    for (const { new_tokens: expected, sequences_scores: scores, ...settings } of set.cases.slice(
      0,
      6,
    )) {
      const out = join(folder, "out.jsonl");
      const { code, err } = await runHira(
        ...[
          "generate",
          `--model=${join(goldens, "tiny-llama")}`,
          `--input=${input}`,
          `--out=${out}`,
          "--overwrite",
        ],
        `--beam_size=${String(settings.num_beams)}`,
        `--num_return_sequences=${String(settings.num_return_sequences)}`,
        `--length_penalty=${String(settings.length_penalty)}`,
        `--no_repeat_ngram_size=${String(settings.no_repeat_ngram_size)}`,
        `--max_new_tokens=${String(settings.max_new_tokens)}`,
      );
      t.is(code, 0, err);
      const lines = (await readFile(out, "utf8")).trim().split("\n");
      t.is(lines.length, expected.length);
      for (const [i, line] of lines.entries()) {
        const { new_tokens: found, score } = JSON.parse(line) as {
          new_tokens: number[];
          score: number;
        };
        const padded = [...(expected[i] ?? [])];
        while (padded.at(-1) === 3) padded.pop();
        t.deepEqual(found, padded);
        if (scores) t.true(Math.abs(score - (scores[i] ?? NaN)) < 1e-4);
      }
    }
  },
);
