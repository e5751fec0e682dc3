import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import type { CheckReport } from "../../scripts/gpu-check/report.js";
import { makeTempFolder } from "../support/temp-folder.js";

const run = (...args: readonly string[]) =>
  spawnSync("sh", ["scripts/gpu-check.sh", "--python=", ...args], { encoding: "utf8" });

test("gpu-check keeps what stages found, and goes on after one that fails", async (t) => {
  const out = await makeTempFolder(t);
  const folder = join(out, "no libraries");
  const { status, stdout } = run(
    ...["--device=cuda", `--device_dir=${folder}`, "--stages=devices,peers", `--out=${out}`],
    `--work=${out}`,
  );
  t.is(status, 1);
  t.regex(stdout, /\ndevices: failed, peers: ok; \d+ s; /);
  const { stages } = JSON.parse(await readFile(join(out, "report.json"), "utf8")) as CheckReport;
  const [devices, peers] = stages;
  t.deepEqual(
    devices?.rows.map(({ what }) => what),
    ["nvidia-smi"],
  );
  t.regex(
    devices?.output ?? "",
    /found no libonnxruntime_providers_cuda\.so in .*\n.*install-accelerator\.sh cuda/,
  );
  t.like(peers, { state: "ok", rows: [{ with: "no --python was given: nothing is compared" }] });
  t.regex(
    await readFile(join(out, "report.md"), "utf8"),
    /^# gpu-check: cuda\n\n[^]*\| devices \| failed \| \d+ \| 1 \| 0 \|\n\| peers \| ok \|/,
  );
});
