import { EventEmitter } from "node:events";
import test from "ava";
import { exitCodeOf, installInterruptHandlers, isInterruptCode } from "../../src/cli/interrupt.js";
import {
  activities,
  InterruptedError,
  interruptNames,
  InterruptSignal,
} from "../../src/train/interrupt.js";

class Host extends EventEmitter {
  readonly exits: number[] = [];
  time = 0;
  now(): number {
    return this.time;
  }
  exit(code: number): void {
    this.exits.push(code);
  }
}

const install = () => {
  const host = new Host();
  const interrupt = new InterruptSignal();
  const lines: string[] = [];
  const uninstall = installInterruptHandlers(interrupt, (line) => lines.push(line), host);
  return { host, interrupt, lines, uninstall };
};

test("the first signal asks the loop to stop, the second one exits", (t) => {
  const { host, interrupt, lines } = install();
  t.is(interrupt.requested, undefined);
  t.notThrows(() => interrupt.throwIfRequested());

  host.emit("SIGTERM", "SIGTERM");
  t.is(interrupt.requested, "SIGTERM");
  t.false(interrupt.abort.aborted);
  t.deepEqual(host.exits, []);
  t.is(lines.length, 1);
  t.throws(() => interrupt.throwIfRequested(), {
    instanceOf: InterruptedError,
    message: /SIGTERM/,
  });

  host.emit("SIGINT", "SIGINT");
  t.is(interrupt.requested, "SIGTERM");
  t.true(interrupt.abort.aborted);
  t.deepEqual(host.exits, [130]);
});

test("exitCodeOf is what shells report", (t) => {
  t.is(exitCodeOf("SIGINT"), 130);
  t.is(exitCodeOf("SIGTERM"), 143);
});

test("installInterruptHandlers leaves no listener behind", (t) => {
  const { host, uninstall } = install();
  for (const name of interruptNames) t.is(host.listenerCount(name), 1);
  uninstall();
  for (const name of interruptNames) t.is(host.listenerCount(name), 0);
});

test("SIGHUP, SIGUSR1 and SIGUSR2 ask to stop as SIGTERM does, with exit codes of their own (9.15)", async (t) => {
  t.deepEqual(
    ["SIGHUP", "SIGUSR1", "SIGUSR2"].map((name) => exitCodeOf(name as never)),
    [129, 138, 140],
  );
  for (const name of interruptNames) {
    t.true(isInterruptCode(exitCodeOf(name)));
    const { host, interrupt, lines, uninstall } = install();
    await interrupt.during(activities.training, async () => host.emit(name, name));
    t.is(interrupt.requested, name);
    t.true(interrupt.stop.aborted);
    t.deepEqual(host.exits, []);
    t.regex(lines[0] ?? "", new RegExp(`^${name}: finishing this step and saving`));
    uninstall();
  }
  t.deepEqual([0, 1, 2, 137].map(isInterruptCode), [false, false, false, false]);
});

test("a signal that comes twice at once is one wish, and one that comes later ends the process (9.15)", (t) => {
  const { host, interrupt, lines } = install();
  host.emit("SIGINT", "SIGINT");
  host.time = 20;
  host.emit("SIGINT", "SIGINT");
  t.deepEqual(host.exits, []);
  t.false(interrupt.abort.aborted);
  t.is(lines.length, 1);
  host.time = 1000;
  host.emit("SIGINT", "SIGINT");
  t.deepEqual(host.exits, [130]);
});

test("the first signal says what it finds at work, and hurries it after a while (9.14)", async (t) => {
  const host = new Host();
  const interrupt = new InterruptSignal({ graceMs: 20 });
  const lines: string[] = [];
  const uninstall = installInterruptHandlers(interrupt, (line) => lines.push(line), host);
  await interrupt.during(activities.answering, async () => {
    host.emit("SIGTERM", "SIGTERM");
    t.false(interrupt.hurry.aborted);
    await new Promise<void>((resolve) => {
      // The interrupt's own timer keeps no process alive.
      const alive = setInterval(() => undefined, 5);
      interrupt.hurry.addEventListener("abort", () => {
        clearInterval(alive);
        resolve();
      });
    });
  });
  t.false(interrupt.abort.aborted);
  t.deepEqual(lines, [`SIGTERM: ${activities.answering.told}`]);
  uninstall();
});

test("work that keeps nothing is ended soon, though it does not look at the signal (9.14)", async (t) => {
  const { host, interrupt, lines } = install();
  await interrupt.during(activities.loading, async () => {
    host.emit("SIGHUP", "SIGHUP");
    while (host.exits.length === 0) await new Promise((done) => setTimeout(done, 20));
  });
  t.deepEqual(host.exits, [129]);
  t.regex(lines[0] ?? "", /^SIGHUP: stopping/);
});
