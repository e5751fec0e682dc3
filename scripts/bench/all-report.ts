/** What `npm run bench -- all` has found: rewritten after every case, so that a run that is cut off keeps what it has. */
import { readFile } from "node:fs/promises";
import { availableParallelism, cpus, totalmem } from "node:os";
import { formatTable } from "../../src/cli/table.js";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import {
  goalOn,
  goals,
  isReached,
  processorKindOf,
  type CaseName,
  type ProcessorKind,
} from "./goals.js";
import type { PairResult } from "./turns.js";

/** The machine, as the JSON has it. */
export interface Machine {
  readonly processor: string;
  readonly kind: ProcessorKind;
  readonly cores: number;
  readonly memory_bytes: number;
  readonly node: string;
}

/** One row of the table. */
export interface Finding {
  readonly case: CaseName;
  /** The peer's time over ours; where less is better, the first named over the second. */
  readonly ratio: number;
  readonly goal: number | null;
  readonly reached: boolean | null;
  readonly who: readonly [string, string];
  /** Of the pairs' ratios: [least, largest]; null of memory. */
  readonly spread: readonly [number, number] | null;
  /** Medians of one sample of each of `who`; null of memory. */
  readonly seconds: readonly [number, number] | null;
  /** Peaks of each of `who`, of memory only. */
  readonly peak_bytes: readonly [number, number] | null;
  readonly pairs: number | null;
  readonly disturbed_pairs: number | null;
  readonly left_out_pairs: number | null;
}

export const describeMachine = async (): Promise<Machine> => {
  const info = await readFile("/proc/cpuinfo", "utf8").catch(() => "");
  const flags = /^flags\s*:(.*)$/m.exec(info)?.[1]?.trim().split(" ") ?? [];
  return {
    processor: cpus()[0]?.model ?? "",
    kind: processorKindOf(flags),
    cores: availableParallelism(),
    memory_bytes: totalmem(),
    node: process.version,
  };
};

/** The findings of a run, in a file. */
export class Report {
  readonly #path: string | undefined;
  readonly #machine: Machine;
  readonly #settings: Readonly<Record<string, unknown>>;
  readonly #ratios: Finding[] = [];
  readonly #missing: { readonly who: string; readonly why: string }[] = [];

  constructor(
    path: string | undefined,
    machine: Machine,
    settings: Readonly<Record<string, unknown>>,
  ) {
    this.#path = path;
    this.#machine = machine;
    this.#settings = settings;
  }

  /** A ratio of times: `who` is [ours, peer]; of cases in which less is better, [first, second] of first over second. */
  async times(name: CaseName, who: readonly [string, string], result: PairResult): Promise<void> {
    // takeTurns divides its second by its first: the peer is its second, and so is what is held against another.
    const isLower = goals[name].better === "lower";
    const seconds = [result.firstMs / 1000, result.secondMs / 1000] as const;
    await this.#add(name, result.ratio, {
      who,
      spread: result.spread,
      seconds: isLower ? [seconds[1], seconds[0]] : seconds,
      peak_bytes: null,
      pairs: result.pairs,
      disturbed_pairs: result.disturbed,
      left_out_pairs: result.leftOut,
    });
  }

  /** A ratio of peaks, the first over the second. */
  async peaks(
    name: CaseName,
    who: readonly [string, string],
    bytes: readonly [number, number],
  ): Promise<void> {
    await this.#add(name, bytes[0] / bytes[1], {
      who,
      spread: null,
      seconds: null,
      peak_bytes: bytes,
      pairs: null,
      disturbed_pairs: null,
      left_out_pairs: null,
    });
  }

  /** A contender that could not be measured, and why. */
  async missing(who: string, why: string): Promise<void> {
    this.#missing.push({ who, why });
    console.log(`missing: ${who}: ${why}`);
    await this.#write();
  }

  async #add(
    name: CaseName,
    ratio: number,
    rest: Omit<Finding, "case" | "ratio" | "goal" | "reached">,
  ): Promise<void> {
    const { kind } = this.#machine;
    const finding: Finding = {
      case: name,
      ratio,
      goal: goalOn(name, kind),
      reached: isReached(name, ratio, kind),
      ...rest,
    };
    this.#ratios.push(finding);
    console.log(rowOf(finding).join(" | "));
    await this.#write();
  }

  async #write(): Promise<void> {
    if (this.#path === undefined) return;
    const report = {
      machine: this.#machine,
      settings: this.#settings,
      ratios: this.#ratios,
      missing: this.#missing,
    };
    await writeFileAtomically(this.#path, `${JSON.stringify(report, undefined, 2)}\n`);
  }

  print(): void {
    const columns = ["case", "ratio", "goal", "spread", "first", "second", "who"].map(
      (heading, i) => ({ heading, align: i === 0 || i === 6 ? "left" : "right" }) as const,
    );
    console.log("");
    for (const line of formatTable(columns, this.#ratios.map(rowOf))) console.log(line);
    for (const { who, why } of this.#missing) console.log(`missing: ${who}: ${why}`);
  }
}

const rowOf = ({ who, ratio, goal, spread, seconds, peak_bytes: peaks, ...row }: Finding) => {
  const of = (i: 0 | 1): string =>
    seconds ? `${seconds[i].toFixed(2)} s` : `${((peaks?.[i] ?? NaN) / 2 ** 20).toFixed(0)} MiB`;
  return [
    row.case,
    ratio.toFixed(2),
    goal === null ? "-" : `${goals[row.case].better === "lower" ? "<= " : ""}${String(goal)}`,
    spread ? `${spread[0].toFixed(2)} to ${spread[1].toFixed(2)}` : "-",
    of(0),
    of(1),
    `${who[0]} / ${who[1]}${(row.disturbed_pairs ?? 0) > 0 ? " (disturbed)" : ""}`,
  ];
};
