import { existsSync } from "node:fs";
import { readdir, readFile, writeFile, mkdir } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import test, { type ExecutionContext } from "ava";
import { partPath } from "../../../src/core/download.js";
import { UserError } from "../../../src/core/errors.js";
import { commitIdOf, gitBlob, sha256 } from "../../support/hub-server.js";
import { demoCommit, openBench, type HubBench } from "./support.js";

const commit = commitIdOf(demoCommit);
const weights = demoCommit["model.safetensors"]!;
const jsonOf = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

/** What is said, and what to do about it. */
const faultOf = async (
  t: ExecutionContext,
  work: Promise<string>,
): Promise<{ readonly message: string; readonly hint: string }> => {
  const error = await t.throwsAsync(work, { instanceOf: UserError });
  return { message: error?.message ?? "", hint: error?.hint ?? "" };
};

const blobsOf = async ({ cache }: HubBench): Promise<readonly string[]> =>
  (await readdir(join(cache, "models--org--demo", "blobs")).catch(() => [])).sort();

test("a connection that is cut is taken up where it was cut", async (t) => {
  const bench = await openBench(t);
  const { server, find, ui } = bench;
  server.faults.push({ ending: `/${sha256(weights)}`, times: 2, cutAfter: 600_000 });
  const folder = await find("org/demo", { network: { attempts: 8 } });
  t.deepEqual(await readFile(join(folder, "model.safetensors")), weights);
  const asked = server.seen.filter(({ atStore }) => atStore);
  t.is(asked.length, 3);
  t.deepEqual(
    asked.slice(1).map(({ range }) => /^bytes=\d+-$/.test(range ?? "")),
    [true, true],
  );
  t.true(ui.warnings.every((text) => text.startsWith("the connection was cut; trying again")));
});

test("what was cut off is gone on with at the next start, and nothing half-written is taken for whole", async (t) => {
  const bench = await openBench(t);
  const { server, find, environment, cache } = bench;
  server.faults.push({ ending: `/${sha256(weights)}`, times: 1, cutAfter: 700_000 });
  const { message, hint } = await faultOf(t, find("org/demo", { network: { attempts: 1 } }));
  t.regex(message, /the connection was cut/);
  t.regex(hint, /the same command goes on behind it/);
  const snapshot = join(cache, "models--org--demo", "snapshots", commit);
  t.false(existsSync(join(snapshot, "model.safetensors")));
  t.false((await blobsOf(bench)).includes(sha256(weights)));
  t.false(existsSync(join(cache, "models--org--demo", "refs", "main")));
  const offline = { environment: { ...environment, HF_HUB_OFFLINE: "1" } };
  await t.throwsAsync(find("org/demo", offline), { message: /nor its model in the Hub's cache/ });
  const part = await readFile(partPath(join(cache, "models--org--demo", "blobs", sha256(weights))));
  t.true(part.length > 0 && part.length < weights.length);
  t.is(await find("org/demo"), snapshot);
  t.is(server.seen.at(-1)?.range, `bytes=${String(part.length)}-`);
  t.deepEqual(await readFile(join(snapshot, "model.safetensors")), weights);
});

test("bytes that are not the Hub's are thrown away; spoilt parts are fetched from their beginning", async (t) => {
  const bench = await openBench(t);
  const { server, find, ui, cache } = bench;
  server.faults.push({ ending: `/${sha256(weights)}`, times: 1, spoil: true });
  const large = await faultOf(t, find("org/demo"));
  t.regex(
    large.message,
    new RegExp(
      `model.safetensors of org/demo: found SHA-256 [0-9a-f]{64}, expected ${sha256(weights)}`,
    ),
  );
  t.deepEqual(
    (await blobsOf(bench)).filter((name) => name.includes(sha256(weights))),
    [],
  );
  const blob = join(cache, "models--org--demo", "blobs", sha256(weights));
  await writeFile(partPath(blob), Buffer.alloc(1000));
  const url = `${server.address}/org/demo/resolve/${commit}/model.safetensors`;
  await writeFile(`${partPath(blob)}.json`, JSON.stringify({ url }));
  t.deepEqual(await readFile(join(await find("org/demo"), "model.safetensors")), weights);
  t.regex(ui.warnings.at(-1) ?? "", /fetching it again from its beginning/);

  const small = await openBench(t);
  small.server.faults.push({ ending: "/tokenizer.json", times: 1, spoil: true });
  const { message } = await faultOf(t, small.find("org/demo"));
  t.regex(
    message,
    new RegExp(
      `found the git blob [0-9a-f]{40}, expected ${gitBlob(demoCommit["tokenizer.json"]!)}`,
    ),
  );
});

test("busy servers are asked again, after Retry-After; then it is told", async (t) => {
  const { server, find, ui } = await openBench(t);
  const after = { "retry-after": "1" };
  server.faults.push(
    { ending: "/revision/main", times: 1, status: 429, headers: after },
    { ending: `/tree/${commit}`, times: 2, status: 503 },
    { ending: "/config.json", times: 1, status: 502 },
  );
  const started = Date.now();
  t.true((await find("org/demo")).endsWith(commit));
  t.true(Date.now() - started >= 1000);
  t.deepEqual(
    ui.warnings.map((text) => text.replace(/ [A-Z].*;/, ";")),
    ["429", "503", "503", "502"].map((status) => `the server says ${status}; trying again`),
  );
  server.faults.push({ ending: "/revision/v3", times: 99, status: 500 });
  const { message, hint } = await faultOf(t, find("org/demo@v3"));
  t.regex(
    message,
    /^Cannot fetch org\/demo@v3 from http:.*: the server says 500.*, 3 times in a row$/,
  );
  t.regex(hint, /HF_HUB_OFFLINE=1/);
});

test("a Hub whose name is not known is told at the first attempt: there is no network", async (t) => {
  const { find, home, ui } = await openBench(t);
  const environment = { HF_ENDPOINT: "http://hub.invalid", HF_HOME: home };
  const network = { attempts: 5, waitMs: 100_000 };
  const { message, hint } = await faultOf(t, find("org/demo", { environment, network }));
  t.regex(
    message,
    /^Cannot fetch org\/demo from http:\/\/hub.invalid: (no such host is known|the name server does not answer)$/,
  );
  t.regex(hint, /HF_HUB_OFFLINE=1/);
  t.deepEqual(ui.warnings, []);
});

test("gated repositories say where to accept the terms, and whose token is wanted", async (t) => {
  const { server, find, environment } = await openBench(t, {
    "org/gated": { access: "gated", revisions: { main: demoCommit } },
  });
  server.tokens.set("hf_stranger", false).set("hf_friend", true);
  const as = (token: string) => ({ environment: { ...environment, HF_TOKEN: token } });
  const without = await faultOf(t, find("org/gated"));
  t.regex(without.message, /found a gated repository, expected a token in HF_TOKEN/);
  t.regex(without.hint, /Accept its terms at http:.*\/org\/gated, then set HF_TOKEN/);
  const stranger = await faultOf(t, find("org/gated", as("hf_stranger")));
  t.regex(stranger.message, /expected a token of an account that may read it/);
  const wrong = await faultOf(t, find("org/gated", as("hf_revoked")));
  t.regex(wrong.message, /found the token refused \(401, Invalid credentials/);
  t.notRegex(wrong.message + wrong.hint, /hf_revoked/);
  t.true((await find("org/gated", as("hf_friend"))).endsWith(commit));
  // The store of large files gets no token.
  t.true(server.seen.some(({ atStore }) => atStore));
  t.true(
    server.seen.every(({ atStore, authorization }) => !atStore || authorization === undefined),
  );
});

test("the token is the environment's or that of a login, unless that is switched off", async (t) => {
  const { server, find, environment, home } = await openBench(t, {
    "org/private": { access: "private", revisions: { main: demoCommit } },
  });
  server.tokens.set("hf_login", true);
  const none = await faultOf(t, find("org/private"));
  t.regex(none.message, /found no repository of that name, nor a folder/);
  t.regex(none.hint, /A private repository needs HF_TOKEN/);
  await writeFile(join(home, "token"), "hf_login\n");
  const off = { environment: { ...environment, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" } };
  await t.throwsAsync(find("org/private", off), { message: /found no repository/ });
  t.true((await find("org/private")).endsWith(commit));
});

test("a repository or a revision that is not there is named", async (t) => {
  const { find } = await openBench(t);
  const repo = await faultOf(t, find("org/nothing"));
  t.regex(
    repo.message,
    /^Cannot fetch org\/nothing from http:.*: found no repository of that name/,
  );
  const revision = await faultOf(t, find("org/demo@v9"));
  t.regex(revision.message, /found no revision "v9", expected a branch, a tag or a commit/);
  t.regex(revision.hint, /\/org\/demo\/tree\/main/);
});

test("answers that are not the Hub's are told as such", async (t) => {
  const { server, find } = await openBench(t);
  const cases: readonly (readonly [string, string, RegExp])[] = [
    [
      "/revision/main",
      "<html>sign in</html>",
      /found no JSON, expected what the Hub's API answers/,
    ],
    ["/revision/main", '{"sha": "../../evil"}', /found the commit "..\/..\/evil"/],
    ["/revision/main", "null", /expected what the Hub's API answers/],
    [`/tree/${commit}`, '{"error": 1}', /expected what the Hub's API answers/],
    [
      `/tree/${commit}`,
      '[{"type": "file", "path": "config.json", "size": -1, "oid": ""}]',
      /found size -1 of "config.json"/,
    ],
    [
      `/tree/${commit}`,
      '[{"type": "file", "path": "config.json", "size": 1, "oid": "../x"}]',
      /found oid "..\/x" of "config.json"/,
    ],
    [
      `/tree/${commit}`,
      '[{"type": "file", "path": "a", "size": 1, "oid": "", "lfs": {"oid": 1, "size": 2}}]',
      /found lfs.oid 1 of "a"/,
    ],
  ];
  for (const [ending, body, message] of cases) {
    server.faults.push({ ending, times: 1, status: 200, body });
    await t.throwsAsync(find("org/demo"), { instanceOf: UserError, message }, body);
  }
  t.true((await find("org/demo")).endsWith(commit));
});

test("a model of an unknown kind is told before its weights come", async (t) => {
  const opt = {
    "config.json": jsonOf({ model_type: "opt-of-the-future" }),
    "pytorch_model.bin": Buffer.from("pickle"),
    "model.safetensors": weights,
  };
  const { server, find } = await openBench(t, { "org/opt": { revisions: { main: opt } } });
  const { message } = await faultOf(t, find("org/opt"));
  t.regex(message, /config.json: found model_type "opt-of-the-future", expected one of .*llama/);
  t.false(server.seen.some(({ atStore }) => atStore));
});

test("pickles are refused by name, with what to do", async (t) => {
  const { "model.safetensors": _, ...small } = demoCommit;
  const pickles = { ...small, "pytorch_model.bin": Buffer.from("p") };
  const adapter = { "adapter_config.json": jsonOf({}), "adapter_model.bin": Buffer.from("p") };
  const { server, find } = await openBench(t, {
    "org/pickles": { revisions: { main: pickles } },
    "org/flax": { revisions: { main: { ...small, "flax_model.msgpack": Buffer.from("p") } } },
    "org/adapter": { revisions: { main: adapter } },
    "org/gguf": { revisions: { main: { "a.Q4_0.gguf": Buffer.from("p") } } },
  });
  const model = await faultOf(t, find("org/pickles"));
  t.regex(model.message, /found only pickles \(pytorch_model.bin\), expected model.safetensors/);
  t.regex(model.hint, /org\/pickles@refs\/pr\/NUMBER/);
  const flax = await faultOf(t, find("org/flax"));
  t.regex(flax.message, /found no weights that are read \(flax_model.msgpack\)/);
  const trained = await faultOf(t, find("org/adapter", { purpose: "trained" }));
  t.regex(
    trained.message,
    /found only pickles \(adapter_model.bin\), expected adapter_model.safetensors/,
  );
  t.regex(trained.hint, /convert_adapter_bin.py/);
  t.regex((await faultOf(t, find("org/gguf"))).hint, /--model=FILE.gguf/);
  t.false(server.seen.some(({ path }) => path.endsWith(".bin")));
});

test("where there are only pickles, the pull request of the Hub's own converter is taken", async (t) => {
  const { "model.safetensors": _, ...small } = demoCommit;
  const pickles = { ...small, "pytorch_model.bin": Buffer.from("p") };
  const converted = { ...pickles, "model.safetensors": weights };
  const request = {
    ...{ num: 7, isPullRequest: true, status: "open", author: { name: "SFconvertbot" } },
    title: "Adding `safetensors` variant of this model",
  };
  const forged = { ...request, num: 3, author: { name: "somebody" } };
  const served = (discussions: readonly object[], parent: string) => ({
    revisions: { main: pickles, "refs/pr/7": converted, "refs/pr/3": converted },
    ...{ discussions, parents: { "refs/pr/7": parent, "refs/pr/3": parent } },
  });
  const { find, ui, server } = await openBench(t, {
    "org/a": served([forged, request], commitIdOf(pickles)),
    "org/forged": served([forged], commitIdOf(pickles)),
    "org/refused": served([request], commitIdOf(pickles)),
    "org/outdated": served([request], commitIdOf(demoCommit)),
  });
  const folder = await find("org/a");
  t.true(folder.endsWith(commitIdOf(converted)));
  t.true(
    ui.lines.includes(
      "org/a has only pickles: taking the safetensors of the Hub's converter, org/a@refs/pr/7",
    ),
  );
  const asked = server.seen.length;
  t.is(await find("org/a"), folder);
  t.is(server.seen.length, asked);
  t.regex(ui.lines.at(-1) ?? "", /is taken from the Hub's converter, org\/a@refs\/pr\/7/);
  server.faults.push({ ending: "/org/refused/discussions", times: 9, status: 403 });
  for (const name of ["org/refused", "org/forged", "org/outdated", "org/a@main"])
    await t.throwsAsync(find(name), { message: /found only pickles/ }, name);
});

test("one fetches, others wait; the lock of a process that is gone is taken away", async (t) => {
  const bench = await openBench(t);
  const { server, find, cache, ui } = bench;
  const lock = join(cache, ".locks", "org--demo.hira");
  await mkdir(join(cache, ".locks"), { recursive: true });
  await writeFile(lock, JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1 }));
  const folders = await Promise.all([find("org/demo"), find("org/demo"), find("org/demo")]);
  t.deepEqual([...new Set(folders)].length, 1);
  t.is(server.seen.filter(({ atStore }) => atStore).length, 1);
  t.true(ui.lines.some((text) => /^Waiting for process \d+, which fetches org\/demo$/.test(text)));
  t.false(existsSync(lock));
});

test("a cache that cannot be written, and an endpoint that is no address, are named", async (t) => {
  const { find, environment, home } = await openBench(t);
  await writeFile(join(home, "file"), "");
  const cache = { environment: { ...environment, HF_HUB_CACHE: join(home, "file") } };
  const { message, hint } = await faultOf(t, find("org/demo", cache));
  t.regex(message, /Cannot write to the Hub's cache .*file/);
  t.regex(hint, /HF_HUB_CACHE/);
  const endpoint = { environment: { ...environment, HF_ENDPOINT: "huggingface.co" } };
  t.regex((await faultOf(t, find("org/demo", endpoint))).message, /Cannot use HF_ENDPOINT/);
});
