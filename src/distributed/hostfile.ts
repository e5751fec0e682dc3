import { UserError } from "../core/errors.js";

/** The hosts of a run in their order, with how many processes each takes. */
export type Hosts = ReadonlyMap<string, number>;

/** The slots of each host that processes are started on: `[0, 2]` of a host are its first and third. */
export type ChosenSlots = ReadonlyMap<string, readonly number[]>;

const lineForm = /^(\S+)\s+slots=(\d+)\s*(?:#.*)?$/;

/**
 * The hosts of a hostfile: a line `host slots=N` each; blank lines and comments behind # say nothing.
 *
 * Source: parse_resource of DeepSpeed 0.14's launcher/runner.py.
 * @param where what errors call the file
 * @throws {UserError} on a line of another form, a host that stands twice, and a file without hosts
 */
export const parseHostfile = (text: string, where: string): Hosts => {
  const hosts = new Map<string, number>();
  for (const [i, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const [, host, slots] = lineForm.exec(line) ?? [];
    const place = `line ${String(i + 1)} of ${where}`;
    if (host === undefined || Number(slots) === 0)
      throw new UserError(
        `Cannot read ${place}: found ${JSON.stringify(line)}, expected a host and its slots, such as "worker-1 slots=4"`,
      );
    if (hosts.has(host))
      throw new UserError(`Cannot read ${place}: found ${host} again, expected each host once`);
    hosts.set(host, Number(slots));
  }
  if (hosts.size > 0) return hosts;
  throw new UserError(
    `Cannot read ${where}: found no host, expected lines such as "worker-1 slots=4"`,
  );
};

/** `host:0,1@other` as its parts; no slots are all of the host's. */
const readSpec = (spec: string, flag: string): readonly (readonly [string, readonly number[]])[] =>
  spec.split("@").map((part) => {
    const [host = "", slots, ...rest] = part.split(":");
    const numbers = slots?.split(",").map(Number) ?? [];
    const isRight = host !== "" && rest.length === 0;
    if (!isRight || numbers.some((slot) => !Number.isInteger(slot) || slot < 0) || slots === "")
      throw new UserError(
        `Cannot use ${flag}=${spec}: found ${JSON.stringify(part)}, expected hosts with or without slots, such as "worker-1@worker-2:0,2"`,
      );
    return [host, numbers] as const;
  });

/** Which hosts and slots a person wants. At most one of the two may be given. */
export interface SlotFilter {
  /** --include: these alone. */
  readonly include?: string | undefined;
  /** --exclude: all but these. */
  readonly exclude?: string | undefined;
}

/**
 * The slots that are left of `hosts`; hosts without any are gone.
 *
 * Source: parse_resource_filter of DeepSpeed 0.14's launcher/runner.py.
 * @throws {UserError} on both filters at once, on hosts and slots that are not there, and if nothing is left
 */
export const chooseSlots = (hosts: Hosts, { include, exclude }: SlotFilter): ChosenSlots => {
  if (include !== undefined && exclude !== undefined)
    throw new UserError(
      "Cannot use --include and --exclude together: expected one of them, or neither",
    );
  const all = new Map(
    [...hosts].map(([host, count]) => [host, Array.from({ length: count }, (_, slot) => slot)]),
  );
  const spec = include ?? exclude;
  if (spec === undefined) return all;
  const flag = include === undefined ? "--exclude" : "--include";
  const named = new Map<string, readonly number[]>();
  for (const [host, slots] of readSpec(spec, flag)) {
    const there = all.get(host);
    if (!there)
      throw new UserError(
        `Cannot use ${flag}=${spec}: found no host ${host}, expected one of ${[...hosts.keys()].join(", ")}`,
      );
    const odd = slots.filter((slot) => !there.includes(slot));
    if (odd.length > 0)
      throw new UserError(
        `Cannot use ${flag}=${spec}: found no slot ${odd.join(", ")} on ${host}, expected 0 to ${String(there.length - 1)}`,
      );
    named.set(host, slots.length > 0 ? [...(named.get(host) ?? []), ...slots] : there);
  }
  const chosen = new Map<string, readonly number[]>();
  for (const [host, slots] of all) {
    const asked = named.get(host);
    const left = slots.filter((slot) =>
      include === undefined ? !asked?.includes(slot) : asked?.includes(slot),
    );
    if (left.length > 0) chosen.set(host, left);
  }
  if (chosen.size > 0) return chosen;
  throw new UserError(`Cannot use ${flag}=${spec}: found no slot left, expected one at least`);
};

/** The first `nodes` hosts with their first `processes` slots. @throws {UserError} if there are fewer */
export const limitSlots = (
  chosen: ChosenSlots,
  {
    nodes,
    processes,
  }: { readonly nodes?: number | undefined; readonly processes?: number | undefined },
): ChosenSlots => {
  if (nodes !== undefined && nodes > chosen.size)
    throw new UserError(
      `Cannot use --num_nodes=${String(nodes)}: found ${String(chosen.size)} host${chosen.size === 1 ? "" : "s"}, expected as many at least`,
      "Name the hosts in a --hostfile",
    );
  const kept = [...chosen].slice(0, nodes ?? chosen.size);
  const short = kept.filter(([, slots]) => slots.length < (processes ?? 0));
  if (short.length > 0)
    throw new UserError(
      `Cannot start ${String(processes)} processes a host: found ${short.map(([host, slots]) => `${String(slots.length)} slot${slots.length === 1 ? "" : "s"} on ${host}`).join(", ")}, expected as many at least`,
      "Raise slots= in the hostfile, or lower --num_gpus",
    );
  return new Map(kept.map(([host, slots]) => [host, slots.slice(0, processes ?? slots.length)]));
};
