import { spawnSync } from "node:child_process";
import type { ExecutionContext } from "ava";
import { laySlowCable, type CableFaults } from "./slow-cable.js";

/** Two network namespaces of this machine, joined by a cable: as far as the network goes, two hosts. */
export interface TwoHosts {
  /** By their addresses. */
  readonly addresses: readonly [string, string];
  /** The words before a command line that run it on a host. */
  on(host: 0 | 1): readonly string[];
  /** Of a cable with faults: the packets so far. */
  readonly traffic: (() => { readonly sent: number; readonly lost: number }) | undefined;
  /** Pulls the cable. */
  cut(): void;
}

const ip = (...args: readonly string[]): boolean => {
  const { status, error } = spawnSync("ip", args);
  return !error && status === 0;
};

/**
 * Lays the cable, until the test ends. Undefined where this needs more than the tests may do (root, the program ip, and for a cable with
 * faults TUN devices).
 */
export const makeTwoHosts = async (
  t: ExecutionContext,
  faults?: CableFaults,
): Promise<TwoHosts | undefined> => {
  const [a, b] = [`hira-a-${String(process.pid)}`, `hira-b-${String(process.pid)}`];
  const addresses = ["10.77.0.1", "10.77.0.2"] as const;
  t.teardown(() => {
    for (const name of [a, b]) ip("netns", "del", name);
  });
  if (!ip("netns", "add", a) || !ip("netns", "add", b)) return undefined;
  const on = (host: 0 | 1): readonly string[] => ["ip", "netns", "exec", host === 0 ? a : b];
  const traffic = faults && (await laySlowCable(t, "cable", [on(0), on(1)], faults));
  const isLaid = faults
    ? traffic !== undefined
    : ip("link", "add", "cable", "netns", a, "type", "veth", "peer", "name", "cable", "netns", b);
  const isUp =
    isLaid &&
    [a, b].every(
      (name, i) =>
        ip("-n", name, "addr", "add", `${addresses[i] ?? ""}/24`, "dev", "cable") &&
        ip("-n", name, "link", "set", "cable", "up") &&
        ip("-n", name, "link", "set", "lo", "up"),
    );
  if (!isUp) return undefined;
  return {
    ...{ addresses, on, traffic },
    cut: () => void ip("-n", b, "link", "set", "cable", "down"),
  };
};
