import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import test from "ava";
import { coresOfRank, parseCoreList } from "../../src/distributed/core-list.js";

test("a list of cores has numbers and ranges that rise", (t) => {
  t.deepEqual(parseCoreList("0-3,8", "--bind_core_list"), [0, 1, 2, 3, 8]);
  for (const text of ["", "3-1", "2,1", "a", "0,,1", "0-"])
    t.throws(() => parseCoreList(text, "--bind_core_list"), {
      name: "UserError",
      message: /^Cannot use --bind_core_list=.*expected numbers and ranges that rise/,
    });
});

test("the processes of a host get equally many cores, side by side", (t) => {
  const cores = [0, 2, 4, 6, 8];
  t.deepEqual(coresOfRank(cores, { localRank: 0, localSize: 2 }), [0, 2]);
  t.deepEqual(coresOfRank(cores, { localRank: 1, localSize: 2 }), [4, 6]);
  t.deepEqual(coresOfRank(cores, { localRank: 1, localSize: 6 }), []);
});

const allowed = /^Cpus_allowed_list:\s*(.*)$/m;

/** The cores that a process has after it has bound itself, as process `localRank` of `localSize`. */
const boundTo = (asked: string, localRank: number, localSize: number): string => {
  const module = new URL("../../src/cli/bind-cores.ts", import.meta.url).href;
  const launched = { family: "Open MPI", rank: localRank, size: localSize, localRank, localSize };
  const script = `
    const { bindToOwnCores } = await import(${JSON.stringify(module)});
    const { readFileSync } = await import("node:fs");
    await bindToOwnCores(${JSON.stringify(launched)}, { HIRA_BIND_CORES: ${JSON.stringify(asked)} });
    process.stdout.write(readFileSync("/proc/self/status", "utf8"));`;
  const argv = ["--import=tsx", "--input-type=module", "-e", script];
  const status = execFileSync(process.execPath, argv, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  return allowed.exec(status)?.[1] ?? "";
};

const onLinux = process.platform === "linux" ? test : test.skip;

onLinux("a process keeps to its share of the cores", (t) => {
  const [, own = ""] = allowed.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  const first = /^\d+/.exec(own)?.[0] ?? "0";
  t.is(boundTo(first, 0, 1), first);
  t.is(boundTo("all", 0, 1), own);
  t.throws(() => boundTo(first, 0, 2), { message: /found 1 cores for 2 processes/ });
});
