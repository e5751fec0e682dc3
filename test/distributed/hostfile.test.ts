import test from "ava";
import { chooseSlots, limitSlots, parseHostfile } from "../../src/distributed/hostfile.js";

const hosts = parseHostfile("# cluster\nworker-1 slots=4\n\nworker-2 slots=2 # smaller\n", "hf");

test("a hostfile gives hosts with their slots, in its order", (t) => {
  t.deepEqual(
    [...hosts],
    [
      ["worker-1", 4],
      ["worker-2", 2],
    ],
  );
});

for (const [text, message] of [
  ["a slots=2\na slots=2", "Cannot read line 2 of hf: found a again, expected each host once"],
  ["a", 'Cannot read line 1 of hf: found "a", expected a host and its slots'],
  ["a slots=x", 'Cannot read line 1 of hf: found "a slots=x", expected a host and its slots'],
  ["a slots=0", 'Cannot read line 1 of hf: found "a slots=0", expected a host and its slots'],
  ["a b slots=2", 'Cannot read line 1 of hf: found "a b slots=2", expected a host and its slots'],
  ["# nothing\n", "Cannot read hf: found no host, expected lines"],
] as const)
  test(`a hostfile ${JSON.stringify(text)} is refused`, (t) => {
    const error = t.throws(() => parseHostfile(text, "hf"), { name: "UserError" });
    t.true(error.message.startsWith(message), error.message);
  });

for (const [filter, expected] of [
  [{}, { "worker-1": [0, 1, 2, 3], "worker-2": [0, 1] }],
  [{ include: "worker-2" }, { "worker-2": [0, 1] }],
  [{ include: "worker-1:0,2@worker-2:1" }, { "worker-1": [0, 2], "worker-2": [1] }],
  [{ exclude: "worker-1:0" }, { "worker-1": [1, 2, 3], "worker-2": [0, 1] }],
  [{ exclude: "worker-1@worker-2:0" }, { "worker-2": [1] }],
] as const)
  test(`${JSON.stringify(filter)} leaves ${JSON.stringify(expected)}`, (t) => {
    t.deepEqual(Object.fromEntries(chooseSlots(hosts, filter)), expected);
  });

for (const [filter, message] of [
  [{ include: "worker-1", exclude: "worker-2" }, /--include and --exclude together/],
  [{ include: "worker-3" }, /found no host worker-3, expected one of worker-1, worker-2/],
  [{ exclude: "worker-2:2" }, /found no slot 2 on worker-2, expected 0 to 1/],
  [{ include: "worker-1:a" }, /found "worker-1:a", expected hosts with or without slots/],
  [{ exclude: "worker-1@worker-2" }, /found no slot left/],
] as const)
  test(`${JSON.stringify(filter)} is refused`, (t) => {
    t.throws(() => chooseSlots(hosts, filter), { name: "UserError", message });
  });

test("--num_nodes and --num_gpus take the first hosts and their first slots", (t) => {
  const all = chooseSlots(hosts, {});
  t.deepEqual(Object.fromEntries(limitSlots(all, { nodes: 1, processes: 3 })), {
    "worker-1": [0, 1, 2],
  });
  t.throws(() => limitSlots(all, { nodes: 3 }), {
    message: /--num_nodes=3: found 2 hosts, expected as many at least/,
  });
  t.throws(() => limitSlots(all, { processes: 3 }), {
    message: /3 processes a host: found 2 slots on worker-2/,
  });
});
