import { EventEmitter } from "node:events";
import test from "ava";
import { exitCodeOf, installInterruptHandlers } from "../../src/cli/interrupt.js";
import { InterruptedError, InterruptSignal } from "../../src/train/interrupt.js";

class Host extends EventEmitter {
  readonly exits: number[] = [];
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
  uninstall();
  t.is(host.listenerCount("SIGINT") + host.listenerCount("SIGTERM"), 0);
});
