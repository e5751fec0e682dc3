import test from "ava";
import { Graph } from "../../src/graph/graph.js";
import type { Value } from "../../src/graph/op.js";
import { noDropout } from "../../src/models/blocks/dropout.js";
import {
  defaultMethodOptions,
  type LinearMethod,
  type MethodOptions,
  type VirtualTokenMethod,
} from "../../src/peft/method.js";
import { peftMethods } from "../../src/peft/registry.js";
import { loadTinyBase } from "../support/adapted-model.js";

type OptionName = keyof MethodOptions;

/** Options that note which of them are looked at. */
const watched = (given: Partial<MethodOptions>, seen: Set<OptionName>): MethodOptions =>
  new Proxy(
    { ...defaultMethodOptions, rank: 2, additiveRank: 2, ...given },
    {
      get(options, name) {
        if (name in options) seen.add(name as OptionName);
        return Reflect.get(options, name) as unknown;
      },
    },
  );

const module = { path: "layer", inFeatures: 8, outFeatures: 6, bias: true };

const parametersIn = (
  g: Graph,
  specs: Readonly<Record<string, { readonly shape: readonly number[] }>>,
): Readonly<Record<string, Value>> =>
  Object.fromEntries(
    Object.entries(specs).map(([name, { shape }]) => [name, g.input(name, "float32", shape)]),
  );

const useLinear = (method: LinearMethod, options: MethodOptions): void => {
  const g = new Graph();
  const parameters = parametersIn(g, method.parameters(module, options));
  const frozen = {
    weight: g.input("weight", "float32", [6, 8]),
    bias: g.input("bias", "float32", [6]),
    hold: (build: () => Value) => build(),
  };
  const x = g.input("x", "float32", [4, 8]);
  method.linear(g, x, frozen, parameters, options, noDropout);
  method.mergedWeight(g, frozen.weight, parameters, options);
  method.unfit?.(module, options);
};

const useVirtual = async (method: VirtualTokenMethod, options: MethodOptions): Promise<void> => {
  const { model } = await loadTinyBase();
  const g = new Graph();
  method.rows(g, parametersIn(g, method.parameters(model, options)), options);
};

/** Options that others than the method's own functions look at, for it. */
const readElsewhere: readonly OptionName[] = ["dropout", "sparsity", "masksPadding"];

/** The same, of one method: buildAdapter takes lora with --use_rslora for rslora, which has this scale in any case. */
const readForIt: Partial<Record<string, readonly OptionName[]>> = { rslora: ["rankStabilized"] };

/** HiLoRA makes its first part as HiRA does, where buildAdapter refuses R. */
const withoutEffect: Partial<Record<string, readonly OptionName[]>> = {
  hilora: ["randomR", "biasTwice"],
};

for (const [name, method] of Object.entries(peftMethods))
  test(`a method reads the options that it declares, and no others: ${name} (9.2)`, async (t) => {
    const seen = new Set<OptionName>();
    // Every value that another option is asked for beside, and the defaults.
    const asked = Object.values(method.reads).flatMap((read) =>
      read === true ? [] : [{ [read.option]: read.is }],
    );
    for (const given of [{}, { randomR: name === "hira" }, ...asked]) {
      const options = watched(given, seen);
      if (method.kind === "linear") useLinear(method, options);
      else if (method.kind === "virtual") await useVirtual(method, options);
    }
    const idle = withoutEffect[name] ?? [];
    const found = [...seen].filter((option) => !idle.includes(option));
    const elsewhere = [...readElsewhere, ...(readForIt[name] ?? [])];
    const declared = Object.keys(method.reads) as OptionName[];
    t.deepEqual(found.sort(), declared.filter((option) => !elsewhere.includes(option)).sort());
  });

test("an option that a method reads beside a value of another changes nothing without it (9.2)", async (t) => {
  const { model } = await loadTinyBase();
  for (const method of Object.values(peftMethods)) {
    if (method.kind !== "virtual") continue;
    for (const [name, read] of Object.entries(method.reads)) {
      if (read === true) continue;
      t.not(defaultMethodOptions[read.option], read.is);
      const parameters = (given: Partial<MethodOptions>) =>
        Object.entries(method.parameters(model, { ...defaultMethodOptions, ...given })).map(
          ([parameter, { shape }]) => [parameter, shape],
        );
      t.deepEqual(parameters({ [name]: 3 }), parameters({ [name]: 5 }), name);
      const asked = { [read.option]: read.is };
      t.notDeepEqual(
        parameters({ ...asked, [name]: 3 }),
        parameters({ ...asked, [name]: 5 }),
        name,
      );
    }
  }
});
