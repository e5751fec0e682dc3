import test from "ava";
import { Graph } from "../../src/graph/graph.js";
import type { Value } from "../../src/graph/op.js";
import { noDropout } from "../../src/models/blocks/dropout.js";
import {
  defaultsOf,
  type LinearMethod,
  type PeftMethod,
  type VirtualTokenMethod,
} from "../../src/peft/method.js";
import { peftMethods, virtualMethods, type MethodOptions } from "../../src/peft/registry.js";
import { loadTinyBase } from "../support/adapted-model.js";
import { defaultMethodOptions } from "../support/adapter-settings.js";

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

const useLinear = (method: LinearMethod<MethodOptions>, options: MethodOptions): void => {
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

const useVirtual = async (
  method: VirtualTokenMethod<MethodOptions>,
  options: MethodOptions,
): Promise<void> => {
  const { model } = await loadTinyBase();
  const g = new Graph();
  method.rows(g, parametersIn(g, method.parameters(model, options)), options);
};

/** Options that others than the method's own functions look at, for it. */
const readElsewhere: readonly OptionName[] = [
  "dropout",
  "sparsity",
  "masksPadding",
  "promptInitText",
];

/** The same, of single methods: with rsLoRA's scale buildAdapter takes lora for rslora, which has it in any case. */
const readForIt: Partial<Record<string, readonly OptionName[]>> = { rslora: ["rankStabilized"] };

/** Values of options beside which a method reads others. */
const asked: Readonly<Record<string, Partial<MethodOptions>>> = {
  prefix: { prefixProjection: true },
  "p-tuning": { encoderType: "LSTM" },
};

for (const [name, method] of Object.entries<PeftMethod>(peftMethods))
  test(`a method reads the options that it declares, and no others: ${name} (9.2)`, async (t) => {
    const seen = new Set<OptionName>();
    for (const given of [{}, { randomR: name === "hira" }, asked[name] ?? {}]) {
      const options = watched(given, seen);
      if (method.kind === "linear") useLinear(method, options);
      else if (method.kind === "virtual") await useVirtual(method, options);
    }
    const elsewhere = [...readElsewhere, ...(readForIt[name] ?? [])];
    const declared = Object.keys(defaultsOf(method)) as OptionName[];
    t.deepEqual([...seen].sort(), declared.filter((option) => !elsewhere.includes(option)).sort());
  });

test("a flag that a method reads beside a value of another changes nothing without it (9.2)", async (t) => {
  const { model } = await loadTinyBase();
  const options = { encoder_hidden_size: "encoderHiddenSize", encoder_num_layers: "encoderLayers" };
  for (const method of Object.values<VirtualTokenMethod<MethodOptions>>(virtualMethods))
    for (const flag of Object.keys(method.onlyWith ?? {})) {
      const option = (options as Readonly<Record<string, string>>)[flag] ?? "";
      const parameters = (given: Partial<MethodOptions>) =>
        Object.entries(method.parameters(model, { ...defaultMethodOptions, ...given })).map(
          ([parameter, { shape }]) => [parameter, shape],
        );
      t.deepEqual(parameters({ [option]: 3 }), parameters({ [option]: 5 }), flag);
      const beside = asked[method.name];
      t.notDeepEqual(
        parameters({ ...beside, [option]: 3 }),
        parameters({ ...beside, [option]: 5 }),
        flag,
      );
    }
});
