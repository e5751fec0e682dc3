import { join, relative } from "node:path";
import test from "ava";
import { randomStream } from "../../../src/core/random.js";
import { repoFolderOf } from "../../../src/models/hub/hub-cache.js";
import { hubNameOfSnapshot, hubNameText, parseHubName } from "../../../src/models/hub/hub-name.js";
import { readHubSettings } from "../../../src/models/hub/hub-settings.js";
import { makeTempFolder } from "../../support/temp-folder.js";

test("parseHubName tells names from paths", (t) => {
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const names: Readonly<Record<string, object>> = {
    "org/name": { repo: "org/name", revision: undefined },
    gpt2: { repo: "gpt2", revision: undefined },
    "meta-llama/Llama-3.2-1B@main": { repo: "meta-llama/Llama-3.2-1B", revision: "main" },
    "org/name@refs/pr/12": { repo: "org/name", revision: "refs/pr/12" },
    [`a_b/c.d@${commit}`]: { repo: "a_b/c.d", revision: commit },
  };
  for (const [text, name] of Object.entries(names)) {
    t.deepEqual(parseHubName(text), name as never, text);
    t.is(hubNameText(name as never), text);
  }
  const paths = [
    "",
    "a/b/c",
    "./a",
    "/a/b",
    "../a",
    "a/..",
    "~/a",
    "a/b/",
    "a//b",
    "a/b@",
    "a b/c",
  ];
  const refused = [
    "a/b--c",
    "a/b.git",
    "a/.b",
    "a/b@../x",
    "a/b@x/../y",
    "a/b@/x",
    "a/b@-x/..",
    "a@b@c d",
  ];
  for (const text of [...paths, ...refused, "ä/b", "a\\b/c", `a/${"b".repeat(97)}`])
    t.is(parseHubName(text), undefined, text);
});

test("no name leads out of the cache", (t) => {
  const letters = [
    "a",
    "B",
    "9",
    ".",
    "..",
    "-",
    "--",
    "_",
    "/",
    "\\",
    "@",
    "~",
    "refs",
    " ",
    ":",
    "\0",
    "%2e",
  ];
  const draw = randomStream(36, "hub names");
  let names = 0;
  for (let i = 0; i < 20_000; i++) {
    const length = 1 + draw.integer(9);
    const text = Array.from({ length }, () => letters[draw.integer(letters.length)]).join("");
    const name = parseHubName(text);
    if (!name) continue;
    names++;
    const folder = repoFolderOf("/cache", name.repo);
    t.regex(relative("/cache", folder), /^models--[^/\\]+$/, text);
    const { revision = "main" } = name;
    t.regex(relative(folder, join(folder, "refs", revision)), /^refs\/(?!.*\.\.)[^\\]+$/, text);
    t.deepEqual(hubNameOfSnapshot(join(folder, "snapshots", "abc"))?.repo, name.repo, text);
  }
  t.true(names > 300, String(names));
});

test("the cache, the endpoint and the token are where Hugging Face's programs have them", async (t) => {
  const HOME = await makeTempFolder(t);
  const cacheOf = (environment: Record<string, string>): string =>
    readHubSettings({ HOME, ...environment }).cacheFolder;
  t.is(cacheOf({}), join(HOME, ".cache/huggingface/hub"));
  t.is(cacheOf({ XDG_CACHE_HOME: "/x" }), "/x/huggingface/hub");
  t.is(cacheOf({ XDG_CACHE_HOME: "/x", HF_HOME: "~/hf" }), join(HOME, "hf/hub"));
  t.is(cacheOf({ HF_HOME: "/y", HUGGINGFACE_HUB_CACHE: "/old" }), "/old");
  t.is(cacheOf({ HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "$HOME/c" }), join(HOME, "c"));
  t.is(cacheOf({ HF_HUB_CACHE: "", HF_HOME: "/y" }), "/y/hub");
  t.is(readHubSettings({ HOME }).endpoint, "https://huggingface.co");
  t.is(readHubSettings({ HOME, HF_ENDPOINT: "http://mirror/hf/" }).endpoint, "http://mirror/hf");
  t.is(readHubSettings({ HOME }).token(), undefined);
  t.is(readHubSettings({ HOME, HF_TOKEN: " hf_a\n" }).token(), "hf_a");
  t.is(readHubSettings({ HOME, HUGGING_FACE_HUB_TOKEN: "hf_b" }).token(), "hf_b");
  for (const [text, offline] of [
    ["1", true],
    ["true", true],
    ["YES", true],
    ["0", false],
    ["", false],
  ] as const)
    t.is(readHubSettings({ HOME, HF_HUB_OFFLINE: text }).offline, offline, text);
  t.true(readHubSettings({ HOME, TRANSFORMERS_OFFLINE: "1" }).offline);
});
