import { execFileSync } from "node:child_process";
import test from "ava";
import { shellLine } from "../../src/core/shell-line.js";

test("shellLine leaves plain words alone, and quotes behind a flag's name", (t) => {
  t.is(
    shellLine(["hira", "--ckpt=results_hira/a-b,c=1e-3", "x.jsonl"]),
    "hira --ckpt=results_hira/a-b,c=1e-3 x.jsonl",
  );
  t.is(shellLine(["--ckpt=my runs/it's", ""]), String.raw`--ckpt='my runs/it'\''s' ''`);
});

test("a shell cuts what shellLine makes into the same words (9.33)", (t) => {
  const words = [
    "a b",
    "--ckpt=$HOME/`x`\"'",
    "~/x",
    "",
    "*",
    "--x=a\nb",
    "-n",
    "é",
    "#",
    "a;b&c|d",
  ];
  const line = `printf '%s\\0' ${shellLine(words)}`;
  const found = execFileSync("sh", ["-c", line], { encoding: "utf8" }).split("\0").slice(0, -1);
  t.deepEqual(found, words);
});
