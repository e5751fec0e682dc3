import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import test from "ava";
import { loadModelFolder } from "../../../src/models/model-folder.js";
import { commitIdOf, gitBlob, sha256 } from "../../support/hub-server.js";
import { startProxy } from "../../support/file-server.js";
import { demoCommit, openBench } from "./support.js";

const commit = commitIdOf(demoCommit);
const weights = demoCommit["model.safetensors"]!;
const jsonOf = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

test("a model comes into the cache's layout, and is not asked for again", async (t) => {
  const { server, cache, ui, find } = await openBench(t);
  const folder = await find("org/demo");
  const repo = join(cache, "models--org--demo");
  t.is(folder, join(repo, "snapshots", commit));
  t.is(await readFile(join(repo, "refs", "main"), "utf8"), commit);
  for (const name of ["config.json", "tokenizer.json", "tokenizer_config.json"]) {
    t.is(await readlink(join(folder, name)), `../../blobs/${gitBlob(demoCommit[name]!)}`);
    t.deepEqual(await readFile(join(folder, name)), demoCommit[name]);
  }
  t.is(await readlink(join(folder, "model.safetensors")), `../../blobs/${sha256(weights)}`);
  t.deepEqual(await readFile(join(folder, "model.safetensors")), weights);
  // Nothing of the way it came is left.
  t.deepEqual(
    (await readdir(join(repo, "blobs"))).filter((name) => !/^[0-9a-f]{40,64}$/.test(name)),
    [],
  );
  t.deepEqual(await readdir(join(cache, ".locks")), []);
  t.is((await loadModelFolder(folder)).model.vocabSize > 0, true);
  t.regex(ui.lines.join("\n"), /^Fetching org\/demo \(commit [0-9a-f]{8}\): 3 files, 2 MiB, into /);
  for (const { parts, total, label } of ui.bars) {
    t.is(label, "fetch org/demo");
    t.is(parts, total);
  }
  t.is(ui.bars.length, 1);
  const asked = server.seen.length;
  t.is(await find("org/demo"), folder);
  t.is(await find(`org/demo@${commit}`), folder);
  t.is(await find(`org/demo@${commit.slice(0, 8)}`), folder);
  t.is(server.seen.length, asked);
  t.deepEqual(ui.warnings, []);
});

test("a revision is a branch, a tag or a commit; one that moved stays what it was fetched as", async (t) => {
  const other = { ...demoCommit, "README.md": Buffer.from("v2") };
  const { server, find, cache } = await openBench(t, {
    "org/demo": { revisions: { main: demoCommit, "v2.0": other, "refs/pr/1": other } },
  });
  const folder = await find("org/demo@v2.0");
  t.true(folder.endsWith(commitIdOf(other)));
  // What has no use here is not fetched.
  t.false(existsSync(join(folder, "README.md")));
  const asked = server.seen.filter(({ path }) => path.includes("/resolve/")).length;
  t.true((await find("org/demo")).endsWith(commit));
  t.is(await find("org/demo@refs/pr/1"), folder);
  // All bytes were there: blobs are shared between commits.
  t.is(server.seen.filter(({ path }) => path.includes("/resolve/")).length, asked);
  t.is(
    await readFile(join(cache, "models--org--demo", "refs", "refs", "pr", "1"), "utf8"),
    commitIdOf(other),
  );
  server.repos.set("org/demo", { revisions: { main: other } });
  t.true((await find("org/demo")).endsWith(commit));
});

test("shards come by their index", async (t) => {
  const shards = {
    "model-00001-of-00002.safetensors": weights,
    "model-00002-of-00002.safetensors": Buffer.from("b"),
  };
  const { "model.safetensors": _, ...small } = demoCommit;
  const index = (names: readonly string[]): Buffer =>
    jsonOf({ weight_map: Object.fromEntries(names.map((name, i) => [`t${String(i)}`, name])) });
  const sharded = {
    ...{ ...small, ...shards },
    "model.safetensors.index.json": index(Object.keys(shards)),
    "model.fp16.safetensors": Buffer.from("another copy"),
  };
  const torn = {
    ...small,
    "model.safetensors.index.json": index(["../evil.safetensors", "gone.safetensors"]),
  };
  const { find } = await openBench(t, {
    "org/sharded": { revisions: { main: sharded } },
    "org/torn": { revisions: { main: torn } },
  });
  const folder = await find("org/sharded");
  for (const [name, content] of Object.entries(shards))
    t.deepEqual(await readFile(join(folder, name)), content);
  t.false(existsSync(join(folder, "model.fp16.safetensors")));
  // A shard that is gone is fetched again.
  await rm(join(folder, "model-00002-of-00002.safetensors"));
  t.is(await find("org/sharded"), folder);
  t.true(existsSync(join(folder, "model-00002-of-00002.safetensors")));
  await t.throwsAsync(find("org/torn"), {
    message:
      /model.safetensors.index.json to name "..\/evil.safetensors", "gone.safetensors", expected safetensors files/,
  });
});

test("what is a folder counts before the Hub, and what can be a path alone is given back", async (t) => {
  const { server, find, home } = await openBench(t);
  const inside = join(home, "org", "demo");
  await mkdir(inside, { recursive: true });
  for (const path of [
    inside,
    "./org/demo",
    "/org/demo",
    "a/b/c",
    "org/demo/",
    "-org/demo",
    "gpt2",
    "src/nothing",
  ])
    t.is(await find(path), path);
  t.is(server.seen.length, 0);
  // A revision says that it is the Hub's, whatever folder is there.
  await t.throwsAsync(find("src/nothing@main"), { message: /found no repository of that name/ });
});

test("a cache that others have filled is used as it is: offline, without an owner, with a commit", async (t) => {
  const { server, cache, find, environment } = await openBench(t);
  const repo = join(cache, "models--gpt2");
  const folder = join(repo, "snapshots", commit);
  await mkdir(join(repo, "blobs"), { recursive: true });
  await mkdir(folder, { recursive: true });
  for (const name of ["config.json", "model.safetensors"]) {
    await writeFile(join(repo, "blobs", name), demoCommit[name]!);
    await symlink(`../../blobs/${name}`, join(folder, name));
  }
  await mkdir(join(repo, "refs"));
  await writeFile(join(repo, "refs", "main"), `${commit}\n`);
  t.is(await find("gpt2"), folder);
  t.is(await find("gpt2@unknown"), "gpt2@unknown");
  const offline = { environment: { ...environment, HF_HUB_OFFLINE: "1" } };
  const named = join(cache, "models--org--demo");
  await mkdir(dirname(named), { recursive: true });
  await symlink(repo, named);
  t.is(await find("org/demo", offline), join(named, "snapshots", commit));
  const fault = await t.throwsAsync(find("org/demo@v9", offline), {
    message:
      /Cannot find org\/demo@v9: found neither a folder of that name nor its model in the Hub's cache .*HF_HUB_OFFLINE/,
  });
  t.regex((fault as { hint?: string }).hint ?? "", /hf download org\/demo --revision v9/);
  await t.throwsAsync(find("org/demo", { ...offline, purpose: "tokenizer" }), {
    message: /nor its tokenizer.json/,
  });
  t.is(server.seen.length, 0);
});

test("a tokenizer that the cache lacks is fetched, once; without a network the model goes on without", async (t) => {
  const { server, find, environment, ui } = await openBench(t);
  const folder = await find("org/demo");
  await rm(join(folder, "tokenizer.json"));
  t.is(await find("org/demo"), folder);
  t.deepEqual(ui.warnings, []);
  t.true(existsSync(join(folder, "tokenizer.json")));

  const { "tokenizer.json": _, ...without } = demoCommit;
  server.repos.set("org/plain", { revisions: { main: without } });
  const plain = await find("org/plain");
  const asked = server.seen.length;
  t.is(await find("org/plain"), plain);
  t.is(server.seen.length, asked);

  await rm(join(folder, "tokenizer.json"));
  const nobody = { environment: { ...environment, HF_ENDPOINT: "http://127.0.0.1:2" } };
  t.is(await find("org/demo", nobody), folder);
  t.regex(ui.warnings.at(-1) ?? "", /the connection is refused.*going on with what the cache has/);
});

test("only a tokenizer comes where only that is asked for, and an adapter where --ckpt names one", async (t) => {
  const adapter = {
    "adapter_config.json": jsonOf({ peft_type: "LORA" }),
    "adapter_model.safetensors": Buffer.from("weights"),
    "optimizer.pt": Buffer.from("pickle"),
  };
  const { server, find } = await openBench(t, {
    "org/demo": { revisions: { main: demoCommit } },
    "org/adapter": { revisions: { main: adapter } },
  });
  const tokenizer = await find("org/demo", { purpose: "tokenizer" });
  t.deepEqual((await readdir(tokenizer)).sort(), [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
  ]);
  // The weights are added where they are needed.
  t.is(await find("org/demo", { purpose: "trained" }), tokenizer);
  t.true(existsSync(join(tokenizer, "model.safetensors")));

  const folder = await find("org/adapter", { purpose: "trained" });
  t.deepEqual((await readdir(folder)).sort(), ["adapter_config.json", "adapter_model.safetensors"]);
  const asked = server.seen.length;
  t.is(await find("org/adapter", { purpose: "trained" }), folder);
  t.is(server.seen.length, asked);
  const fault = await t.throwsAsync(find("org/adapter"), {
    message: /found an adapter, expected a model/,
  });
  t.regex((fault as { hint?: string }).hint ?? "", /Give it as --ckpt/);
});

test("requests go through the environment's proxy", async (t) => {
  const { server, find, environment } = await openBench(t);
  const { port } = new URL(server.address);
  const proxy = await startProxy(t, Number(port));
  const small = {
    "config.json": demoCommit["config.json"]!,
    "tokenizer.json": demoCommit["tokenizer.json"]!,
  };
  server.repos.set("org/small", { revisions: { main: small } });
  await find("org/small", {
    purpose: "tokenizer",
    environment: { ...environment, HF_ENDPOINT: "http://hub.example", HTTP_PROXY: proxy.address },
  });
  t.true(proxy.asked.length > 0);
  t.true(
    proxy.asked.every((line) => line.startsWith("GET http://hub.example/")),
    proxy.asked.join("\n"),
  );
});
