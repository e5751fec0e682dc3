import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  readSafetensorsHeader,
  readTensorAsFloat32,
} from "../../src/models/weights/safetensors.js";
import { readMetrics } from "../../src/report/metrics.js";
import { readBatch } from "../support/goldens.js";
import { runHira } from "../support/run-hira.js";
import { testWithShared } from "../support/shared.js";
import { makeTempFolder } from "../support/temp-folder.js";

const lowRank = ["--r_ab=8", "--target_modules=q_proj,k_proj,v_proj,up_proj,down_proj"];
/** By the goldens' names. */
const methods: Readonly<Record<string, readonly string[]>> = {
  lora: ["--peft_type=lora", "--lora_alpha=16", ...lowRank],
  dora: ["--peft_type=dora", "--lora_alpha=16", ...lowRank],
  mora: ["--peft_type=mora", ...lowRank],
  prefix: ["--peft_type=prefix", "--virtual_tokens=8"],
  prefix_nomask: ["--peft_type=prefix", "--virtual_tokens=8", "--compat=mask"],
};

/** The goldens' batch as the rows that `hira` reads. */
const writeRows = async (goldens: string, path: string): Promise<void> => {
  const { batch, seq, inputIds, attentionMask, labels } = await readBatch(
    join(goldens, "batch.safetensors"),
  );
  const rows = Array.from({ length: batch }, (_, row) => {
    const part = (list: ArrayLike<number | bigint>) =>
      Array.from(list, Number).slice(seq * row, seq * (row + 1));
    return JSON.stringify({
      input_ids: part(inputIds),
      attention_mask: part(attentionMask),
      labels: part(labels),
    });
  });
  await writeFile(path, rows.join("\n"));
};

for (const [name, flags] of Object.entries(methods))
  testWithShared(
    `hira train repeats the goldens' 20 steps, and hira forward reads what it saved: ${name}`,
    "goldens",
    async (t, goldens) => {
      const folder = await makeTempFolder(t);
      const rows = join(folder, "rows.jsonl");
      await writeRows(goldens, rows);
      const trained = await runHira(
        `--model=${join(goldens, "tiny-llama")}`,
        `--dataset=${rows}`,
        `--adapter_init=${join(goldens, "init.safetensors")}`,
        `--output_folder=${join(folder, "runs")}`,
        ...["--eval_strategy=no", "--shuffle=false", "--batch=4", "--epoch=20", "--lr=1e-3"],
        ...["--warmup=5", "--weight_decay=0.01", ...flags],
      );
      t.is(trained.code, 0, trained.err);
      const runFolder = /Run folder: (.*)/.exec(trained.out)?.[1] ?? "";
      const stored = JSON.parse(await readFile(join(goldens, "training.json"), "utf8")) as {
        readonly methods: Readonly<
          Record<string, { readonly loss: readonly number[]; readonly loss_after: number }>
        >;
      };
      const golden = stored.methods[name];
      const metrics = await readMetrics(join(runFolder, "metrics.jsonl"));
      t.deepEqual(
        metrics.map(({ loss }, i) => Math.abs(loss / (golden?.loss[i] ?? NaN) - 1) < 2e-5),
        Array<boolean>(20).fill(true),
      );
      // hira forward always masks padding.
      if (name === "prefix_nomask") return;
      const out = join(folder, "out.safetensors");
      const read = await runHira(
        "forward",
        `--ckpt=${runFolder}`,
        `--input=${rows}`,
        `--out=${out}`,
      );
      t.is(read.code, 0, read.err);
      const entry = (await readSafetensorsHeader(out)).entries.get("loss");
      const [loss = NaN] = entry ? await readTensorAsFloat32(entry) : [];
      t.true(Math.abs(loss / (golden?.loss_after ?? NaN) - 1) < 2e-4, String(loss));
    },
  );
