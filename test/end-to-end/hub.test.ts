import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import test from "ava";
import { partPath } from "../../src/core/download.js";
import { findOnHub } from "../../src/models/hub/find-on-hub.js";
import { demoCommit, showingUi } from "../models/hub/support.js";
import { commitIdOf, commitOfFolder, sha256, startHubServer } from "../support/hub-server.js";
import { startHira } from "../support/start-hira.js";
import { makeTempFolder } from "../support/temp-folder.js";

const commit = commitIdOf(demoCommit);

test("a model on the Hub is trained by its name; its adapter finds it again there, and may be there itself", async (t) => {
  const server = await startHubServer(t, { "org/demo": { revisions: { "v1.0": demoCommit } } });
  const folder = await makeTempFolder(t);
  const home = join(folder, "home");
  const environment = { HF_HUB_OFFLINE: "", HF_ENDPOINT: server.address, HF_HOME: home };
  const rows = join(folder, "rows.jsonl");
  const row = { input_ids: [5, 6, 7, 8], labels: [5, 6, 7, 8] };
  await writeFile(rows, `${JSON.stringify(row)}\n`);
  const out = join(folder, "out");
  const trained = await startHira(
    t,
    [
      ...["--model=org/demo@v1.0", "--peft_type=lora", `--dataset=${rows}`, "--max_steps=1"],
      ...["--r_ab=2", "--lr=1e-2", "--batch=1", "--eval_strategy=no", `--output_folder=${out}`],
    ],
    undefined,
    { environment },
  ).ended;
  t.is(trained.code, 0, trained.err);
  t.regex(trained.out, /Fetching org\/demo@v1.0 \(commit/);
  const [name = ""] = await readdir(out);
  t.regex(name, /^demo@v1.0-rows-lora-/);
  const adapter = join(out, name, "checkpoint-1");
  const config = JSON.parse(await readFile(join(adapter, "adapter_config.json"), "utf8")) as object;
  t.like(config, { base_model_name_or_path: "org/demo", revision: commit });

  // The cache is gone, and the tag is another commit by now: the run's own is fetched.
  await rm(home, { recursive: true });
  const moved = { ...demoCommit, "README.md": Buffer.from("moved") };
  server.repos.set("org/demo", { revisions: { "v1.0": moved, first: demoCommit } });
  const copied = join(folder, "copied");
  await cp(adapter, copied, { recursive: true });
  await rm(join(copied, "complete.json"));
  server.repos.set("org/adapter", {
    revisions: {
      main: Object.fromEntries(
        Object.entries(commitOfFolder(copied)).filter(([file]) => file.startsWith("adapter_")),
      ),
    },
  });
  const losses: string[] = [];
  for (const ckpt of [join(out, name), "org/adapter"]) {
    const result = await startHira(
      t,
      [
        "forward",
        `--ckpt=${ckpt}`,
        `--input=${rows}`,
        `--out=${join(folder, `${String(losses.length)}.safetensors`)}`,
      ],
      undefined,
      { environment },
    ).ended;
    t.is(result.code, 0, result.err);
    losses.push(/loss (\S+)/.exec(result.out)?.[1] ?? "");
  }
  t.regex(losses[0] ?? "", /^\d+\.\d+$/);
  t.is(losses[1], losses[0]);
  t.true(existsSync(join(home, "hub", "models--org--demo", "snapshots", commit)));
});

test("Ctrl-C while a model comes leaves what can be gone on with", async (t) => {
  const weights = demoCommit["model.safetensors"]!;
  const server = await startHubServer(t, { "org/demo": { revisions: { main: demoCommit } } });
  server.faults.push({ ending: sha256(weights), times: 1, cutAfter: 500_000, stalls: true });
  const folder = await makeTempFolder(t);
  const environment = { HF_HUB_OFFLINE: "", HF_ENDPOINT: server.address, HF_HOME: folder };
  const { child, ended } = startHira(
    t,
    ["--model=org/demo", "--peft_type=hira", "--dataset=boolq", `--output_folder=${folder}`],
    undefined,
    { environment },
  );
  const blobs = join(folder, "hub", "models--org--demo", "blobs");
  const part = partPath(join(blobs, sha256(weights)));
  const bytes = async (): Promise<number> => (await readFile(part).catch(() => Buffer.of())).length;
  while ((await bytes()) === 0) await sleep(50);
  child.kill("SIGINT");
  t.is((await ended).code, 130);
  const came = await bytes();
  t.true(came > 0 && came < weights.length, String(came));
  const found = await findOnHub("org/demo", { purpose: "model", ui: showingUi(), environment });
  t.is(server.seen.at(-1)?.range, `bytes=${String(came)}-`);
  t.deepEqual(await readFile(join(found, "model.safetensors")), weights);
});
