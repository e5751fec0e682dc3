import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmod, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ExecutionContext } from "ava";
import test from "ava";
import {
  acceleratorPlace,
  deviceFolder,
  findLibrary,
  installedPackages,
} from "../../src/runtime/devices/place.js";
import { makeZip } from "../support/make-archive.js";
import { makeTempFolder } from "../support/temp-folder.js";

const script = "scripts/install-accelerator.sh";
const library = Buffer.from("\u007fELF and more");
const names = [
  "libopenvino.so.2641",
  "libopenvino_c.so.2641",
  "libopenvino_intel_cpu_plugin.so",
  "libopenvino_onnx_frontend.so.2641",
  "libtbb.so.12",
  "libtbbmalloc.so.2",
  "libtbbbind_2_5.so.3",
  "libhwloc.so.15",
];
/** What a wheel has beside them stays in it. */
const others = ["libopenvino_intel_gpu_plugin.so", "cache.json"];
const wheelOf = (kept: readonly string[], content = library): Buffer =>
  makeZip(
    Object.fromEntries<string | Buffer>([
      ...[...kept, ...others].map((name) => [`openvino/libs/${name}`, content] as const),
      ["openvino/__init__.py", "import sys"],
      ["openvino-2026.4.1.dist-info/licenses/LICENSE", "Apache"],
    ]),
    { stores: true },
  );

const wheelName = "openvino-2026.4.1-1-cp311-cp311-manylinux_2_28_x86_64.whl";
/** As the script's text has it. */
const pinnedSum = /^openvino \S+ ([0-9a-f]{64}) /m;

/** The script with another wheel's sum, and a `pip` that writes that wheel, or fails with a message. */
const prepare = async (t: ExecutionContext, wheel: Buffer, pipSays?: string) => {
  const root = await makeTempFolder(t);
  const bin = join(root, "bin");
  await mkdir(bin);
  await writeFile(join(root, wheelName), wheel);
  const text = await readFile(script, "utf8");
  const [, sum = ""] = pinnedSum.exec(text) ?? [];
  const itsSum = createHash("sha256").update(wheel).digest("hex");
  await writeFile(join(root, "install.sh"), text.replace(sum, itsSum));
  await writeFile(
    join(bin, "pip3"),
    pipSays === undefined
      ? `#!/bin/sh
[ "$1" = --version ] && exit
echo "$*" >>'${root}/calls'
while [ "$1" != -d ]; do shift; done
cp '${root}/${wheelName}' "$2/"
`
      : `#!/bin/sh\n[ "$1" = --version ] && exit\necho "${pipSays}" >&2\nexit 1\n`,
  );
  await chmod(join(bin, "pip3"), 0o755);
  for (const tool of "sh uname ldd sed cut grep sha256sum df awk mkdir rm mv cp du wc head tail find cat tr basename ls unzip".split(
    " ",
  )) {
    const found = spawnSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).stdout.trim();
    if (found.startsWith("/")) await symlink(found, join(bin, tool));
  }
  const place = join(root, "home", "accelerators", "openvino");
  return {
    root,
    bin,
    place,
    run: (...args: string[]) =>
      spawnSync("sh", [join(root, "install.sh"), ...args], {
        encoding: "utf8",
        env: { PATH: bin, HIRA_HOME: join(root, "home") },
      }),
    calls: async () =>
      (await readFile(join(root, "calls"), "utf8").catch(() => "")).trim().split("\n"),
  };
};

const isHere =
  process.platform === "linux" && process.arch === "x64" && spawnSync("unzip", ["-v"]).status === 0;
const onLinux = (title: string, body: (t: ExecutionContext) => Promise<void>): void => {
  if (isHere) test(title, body);
  else test.skip(`${title} (this is not Linux x86_64 with unzip)`, body);
};

onLinux(
  "install-accelerator.sh keeps the libraries alone, in the place where a device looks for them",
  async (t) => {
    const { run, place, root, calls } = await prepare(t, wheelOf(names));
    const { stdout, stderr, status } = run("openvino");
    t.is(stderr, "");
    t.is(status, 0);
    t.is(place, acceleratorPlace("openvino", { HIRA_HOME: join(root, "home") }));
    t.is(
      stdout,
      `Fetching openvino 2026.4.1 (57 MiB)\nInstalled openvino in ${place} (1 MiB). Use it: --device=openvino\n`,
    );
    t.deepEqual((await readdir(place)).sort(), ["installed.txt", ...names, "licenses"].sort());
    t.deepEqual(await readFile(join(place, "libtbb.so.12")), library);
    t.is(await readFile(join(place, "licenses/openvino/LICENSE"), "utf8"), "Apache");
    t.deepEqual(installedPackages(place), [{ name: "openvino", version: "2026.4.1" }]);
    t.is(findLibrary(place, /^libopenvino_c\.so\.\d+$/), join(place, "libopenvino_c.so.2641"));
    t.is(findLibrary(place, /^libcublas\.so\.13$/), undefined);
    t.deepEqual(await readdir(join(root, "home/accelerators")), ["openvino"]);

    const again = run("openvino");
    t.is(
      again.stdout,
      `Found openvino in ${place}: openvino 2026.4.1. Use it: --device=openvino\n`,
    );
    t.is((await calls()).length, 1);

    // A file that was cut off is noticed, and all of it fetched again.
    await writeFile(join(place, "libtbb.so.12"), "short");
    t.regex(run("openvino").stdout, /^Fetching.*\nInstalled/);
    t.deepEqual(await readFile(join(place, "libtbb.so.12")), library);
  },
);

onLinux(
  "install-accelerator.sh goes on with a wheel that an earlier call had fetched",
  async (t) => {
    const { run, place, root, calls } = await prepare(t, wheelOf(names));
    await mkdir(`${place}.part/wheels`, { recursive: true });
    await writeFile(join(`${place}.part/wheels`, wheelName), wheelOf(names));
    t.is(run("openvino").status, 0);
    t.deepEqual(await calls(), [""]);

    const to = join(root, "elsewhere");
    const given = run("openvino", "--to", to, `--wheels=${root}`);
    t.regex(given.stdout, /Use it: --device=openvino --device_dir=\S+elsewhere\n$/);
    t.deepEqual(await calls(), [""]);
  },
);

onLinux("install-accelerator.sh leaves nothing half-written, and says what to do", async (t) => {
  const lacking = await prepare(t, wheelOf(names.slice(1)));
  const { stderr, status } = lacking.run("openvino");
  t.is(status, 2);
  t.regex(
    stderr,
    /^error: Cannot install openvino: found no libopenvino\.so\.\* in \S+, expected one\n {2}Remove \S+ and call this again\n$/,
  );
  t.deepEqual(await readdir(join(lacking.root, "home/accelerators")), ["openvino.part"]);

  const text = await prepare(t, wheelOf(names, Buffer.from("<html>")));
  t.regex(text.run("openvino").stderr, /found lib\S+ is no library/);

  for (const [says, expected] of [
    ["Max retries exceeded with url", /found no way to the package index/],
    ["OSError: [Errno 28] No space left on device", /the disk ran full/],
    ["THESE PACKAGES DO NOT MATCH THE HASHES", /another SHA-256 sum than the pinned one/],
    ["something else", /pip: something else\nerror: .*pip download of openvino 2026\.4\.1 failed/],
  ] as const) {
    const failing = await prepare(t, wheelOf(names), says);
    const result = failing.run("openvino");
    t.is(result.status, 2);
    t.regex(result.stderr, expected);
  }
});

onLinux(
  "install-accelerator.sh tells wrong words, a missing pip and a foreign folder",
  async (t) => {
    const { run, bin, place } = await prepare(t, wheelOf(names));
    t.regex(run().stderr, /found no name, expected openvino or cuda/);
    t.regex(run("rocm").stderr, /found "rocm", expected openvino or cuda/);
    t.regex(run("cuda", "--to").stderr, /found --to without a folder/);
    t.regex(
      run("openvino", "--wheels=/").stderr,
      /found no wheel of openvino 2026\.4\.1 in \/, expected one of SHA-256/,
    );
    await writeFile(join(bin, "pip3"), "#!/bin/sh\nexit 1\n");
    t.regex(run("openvino").stderr, /found no pip, expected python3 -m pip, pip3 or pip/);
    await mkdir(place, { recursive: true });
    await writeFile(join(place, "notes.txt"), "mine");
    t.regex(run("openvino").stderr, /found \S+ with other content/);
    t.is(await readFile(join(place, "notes.txt"), "utf8"), "mine");
  },
);

test("install-accelerator.sh pins the provider of the ONNX Runtime that npm installs", async (t) => {
  const about = JSON.parse(await readFile("package.json", "utf8")) as {
    dependencies: Record<string, string>;
  };
  t.true(
    (await readFile(script, "utf8")).includes(
      `\nonnxruntime-gpu ${about.dependencies["onnxruntime-node"] ?? ""} `,
    ),
  );
});

test("deviceFolder prefers a given folder, then HIRA_DEVICE_DIR, then the install script's place", (t) => {
  t.is(deviceFolder("cuda", "/a", { HIRA_DEVICE_DIR: "/b" }), "/a");
  t.is(deviceFolder("cuda", undefined, { HIRA_DEVICE_DIR: "/b" }), "/b");
  t.is(deviceFolder("cuda", undefined, { HIRA_HOME: "/c" }), "/c/accelerators/cuda");
  t.is(
    deviceFolder("openvino", undefined, { XDG_DATA_HOME: "/d" }),
    "/d/hira/accelerators/openvino",
  );
});

test("findLibrary looks where Python's packages keep their libraries", async (t) => {
  const folder = await makeTempFolder(t);
  const cublas = join(folder, "nvidia/cu13/lib/libcublas.so.13");
  await mkdir(join(folder, "nvidia/cu13/lib"), { recursive: true });
  await writeFile(cublas, "");
  t.is(findLibrary(folder, /^libcublas\.so\.13$/), cublas);
  t.is(findLibrary(folder, /^libcublasLt\.so\.13$/), undefined);
});
