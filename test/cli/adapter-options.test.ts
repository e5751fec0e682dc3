import test from "ava";
import { readLayers, readRankPattern } from "../../src/cli/adapter-options.js";
import { defaultOf, type FlagFault, type Flags } from "../../src/core/flag.js";
import { methodFlags, readMethodOptions } from "../../src/peft/registry.js";

const defaults = Object.fromEntries(
  Object.entries(methodFlags as Flags).map(([name, flag]) => [name, defaultOf(flag)]),
);

test("readLayers reads numbers and ranges, each layer once and rising", (t) => {
  const faults: FlagFault[] = [];
  t.deepEqual(readLayers("0-2, 10,1", faults), [0, 1, 2, 10]);
  t.is(readLayers(null, faults), undefined);
  t.deepEqual(faults, []);
});

for (const text of ["", "3-1", "a", "1,,2", "-1", "1.5", "0-999999999"])
  test(`readLayers refuses ${JSON.stringify(text)}`, (t) => {
    const faults: FlagFault[] = [];
    t.is(readLayers(text, faults), undefined);
    t.deepEqual(
      faults.map(({ what, found }) => [what, found]),
      [["--layers", JSON.stringify(text)]],
    );
  });

test("readRankPattern reads pattern=rank and JSON, in the order given", (t) => {
  const faults: FlagFault[] = [];
  const expected = [
    ["layers.0.*q_proj", 8],
    ["up_proj", 4],
  ] as const;
  t.deepEqual([...readRankPattern("layers.0.*q_proj=8, up_proj=4", faults)], expected);
  t.deepEqual([...readRankPattern('{"layers.0.*q_proj": 8, "up_proj": 4}', faults)], expected);
  t.deepEqual([...readRankPattern(null, faults)], []);
  t.deepEqual(faults, []);
});

for (const text of [
  "q_proj",
  "q_proj=0",
  "q_proj=x",
  "=4",
  "(=4",
  "{",
  "{}",
  '{"q_proj": 1.5}',
  "",
])
  test(`readRankPattern refuses ${JSON.stringify(text)}`, (t) => {
    const faults: FlagFault[] = [];
    t.is(readRankPattern(text, faults).size, 0);
    t.deepEqual(
      faults.map(({ what }) => what),
      ["--rank_pattern"],
    );
  });

test("p-tuning's encoder refuses a number of layers for the MLP", (t) => {
  const faults: FlagFault[] = [];
  const read = (type: string) =>
    readMethodOptions(
      { ...defaults, encoder_reparameterization_type: type, encoder_num_layers: 3 },
      undefined,
      { compat: new Set(), faults },
    );
  t.like(read("LSTM"), { encoderType: "LSTM", encoderLayers: 3 });
  t.deepEqual(faults, []);
  read("MLP");
  t.is(faults[0]?.what, "--encoder_num_layers");
});
