import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { UserError } from "../../src/core/errors.js";
import type { LiveAdapter } from "../../src/decode/decode-graph.js";
import {
  analyseAdapter,
  writeAdapterAnalysis,
  type AdapterAnalysis,
} from "../../src/runs/adapter-analysis.js";
import type { LinearModule } from "../../src/models/model.js";
import { createFullAdapter, createLinearAdapter } from "../../src/peft/adapter.js";
import { fft } from "../../src/peft/fft.js";
import { hira } from "../../src/peft/hira.js";
import { lora } from "../../src/peft/lora.js";
import { normal, ones, zeros } from "../../src/peft/init.js";
import type { LinearMethod } from "../../src/peft/method.js";
import { linearMethods, type MethodOptions } from "../../src/peft/registry.js";
import { Tensor } from "../../src/runtime/tensor.js";
import { makeTempFolder } from "../support/temp-folder.js";

const options: Partial<MethodOptions> = {
  rank: 2,
  alpha: 2,
  initA: normal(0.01),
  initB: normal(0.01),
};

const noBase = (): Float32Array => new Float32Array();

const quiet = { decoding: () => ({ advance: () => undefined, done: () => undefined }) };

const linear = (path: string, outFeatures: number, inFeatures: number): LinearModule => ({
  path,
  outFeatures,
  inFeatures,
  bias: false,
});

// Both ways round, and two layers of one shape.
const modules = [
  linear("layers.0.up_proj", 96, 40),
  linear("layers.0.down_proj", 40, 96),
  linear("layers.1.down_proj", 40, 96),
];

const weights = new Map<string, Tensor>(
  modules.map(({ path, outFeatures, inFeatures }) => {
    const shape = [outFeatures, inFeatures];
    return [
      `${path}.weight`,
      Tensor.fromArray("float32", shape, normal(0.05)(shape, 7, path, noBase)),
    ] as const;
  }),
);
const access = {
  tensor: (name: string): Tensor => weights.get(name) ?? Tensor.zeros("float32", []),
};

const live = (method: LinearMethod, seed: number | "untrained"): LiveAdapter => {
  const adapter = createLinearAdapter(method, options, modules);
  const values = adapter.parameters.map(({ name, shape, init }) => {
    const data =
      seed === "untrained" ? zeros(shape, 0, name, noBase) : init(shape, seed, name, noBase);
    return [name, Tensor.fromArray("float32", shape, data)] as const;
  });
  return { adapter, values: new Map(values) };
};

const analyse = (adapted: LiveAdapter): Promise<AdapterAnalysis> =>
  analyseAdapter(access, adapted, { rank: true, norm: true, progress: quiet });

/** ||U||, ||W0|| in float64, with U made by `element` of W0's element and B A's. */
const normsOf = (
  { path, outFeatures, inFeatures }: LinearModule,
  { values }: LiveAdapter,
  element: (w: number, ba: number) => number,
): readonly [update: number, weight: number] => {
  const [A, B, W] = [`${path}.A`, `${path}.B`]
    .map((name) => values.get(name)?.data)
    .concat(weights.get(`${path}.weight`)?.data) as Float32Array[];
  let [update, weight] = [0, 0];
  for (let i = 0; i < outFeatures; i++)
    for (let j = 0; j < inFeatures; j++) {
      const w = W?.[i * inFeatures + j] ?? NaN;
      const ba = [0, 1].reduce(
        (sum, k) => sum + (B?.[2 * i + k] ?? NaN) * (A?.[k * inFeatures + j] ?? NaN),
        0,
      );
      update += element(w, ba) ** 2;
      weight += w * w;
    }
  return [Math.sqrt(update), Math.sqrt(weight)];
};

for (const [method, element, rank] of [
  [hira, (w: number, ba: number) => w * ba, 40],
  [lora, (_w: number, ba: number) => ba, 2],
] as const)
  test(`analyseAdapter finds rank ${String(rank)} and the norms of an update of two factors under ${method.name}`, async (t) => {
    const adapted = live(method, 11);
    const found = await analyse(adapted);
    t.is(found.method, method.name);
    t.deepEqual(
      found.modules.map(({ module, shape, rank: r }) => [module, shape, r]),
      modules.map(({ path, outFeatures, inFeatures }) => [path, [outFeatures, inFeatures], rank]),
    );
    found.modules.forEach((facts, i) => {
      const [update, weight] = normsOf(modules[i] as LinearModule, adapted, element);
      const { updateNorm = NaN, relativeNorm = NaN, largestSingularValue = NaN } = facts;
      // The updates are some 1e-4 of W0: float32 differences would show at 1e-4.
      t.true(Math.abs(updateNorm / update - 1) < 1e-9);
      t.true(Math.abs(relativeNorm / (update / weight) - 1) < 1e-9);
      t.true(largestSingularValue <= updateNorm);
      t.true(largestSingularValue >= updateNorm / Math.sqrt(rank));
    });
  });

for (const method of Object.values<LinearMethod<MethodOptions>>(linearMethods))
  test(`analyseAdapter computes the update of ${method.name} in float64`, async (t) => {
    const adapter = createLinearAdapter(method, options, modules);
    const values = adapter.parameters.map(({ name, shape }) => {
      const data = name.endsWith("magnitude") ? ones : normal(0.01);
      return [name, Tensor.fromArray("float32", shape, data(shape, 3, name, noBase))] as const;
    });
    const found = await analyse({ adapter, values: new Map(values) });
    for (const { rank = 0, updateNorm = 0 } of found.modules) t.true(rank >= 2 && updateNorm > 0);
  });

test("analyseAdapter counts singular values above a thousandth of the largest", async (t) => {
  // W0 has the singular values 5, 0.5, 0.0051, 0.0049 and zeros; the update is W0 * (1 1^T) = W0.
  const singular = [5, 0.5, 0.0051, 0.0049];
  const [rows, columns] = [6, 9];
  const data = new Float32Array(rows * columns);
  singular.forEach((value, i) => (data[i * columns + (i + 3)] = value));
  const module = linear("layer", rows, columns);
  const adapter = createLinearAdapter(hira, { ...options, rank: 1 }, [module]);
  const found = await analyseAdapter(
    { tensor: () => Tensor.fromArray("float32", [rows, columns], data) },
    {
      adapter,
      values: new Map(
        adapter.parameters.map(({ name, shape }) => [
          name,
          Tensor.fromArray("float32", shape, ones(shape, 0, name, noBase)),
        ]),
      ),
    },
    { rank: true, norm: true, progress: quiet },
  );
  t.is(found.modules[0]?.rank, 3);
  t.true(Math.abs((found.modules[0]?.largestSingularValue ?? NaN) - 5) < 1e-12);
  t.is(found.modules[0]?.relativeNorm, 1);
});

test("analyseAdapter finds nothing in an untrained adapter", async (t) => {
  const found = await analyse(live(hira, "untrained"));
  for (const { rank, largestSingularValue, updateNorm, relativeNorm } of found.modules)
    t.deepEqual([rank, largestSingularValue, updateNorm, relativeNorm], [0, 0, 0, 0]);
});

test("analyseAdapter reads bfloat16 weights, and computes only what is asked for", async (t) => {
  const bits = new Uint16Array(96 * 40).map((_, i) => 0x3c00 + (i % 97));
  const narrow = { tensor: () => Tensor.fromArray("bfloat16", [96, 40], bits) };
  const adapter = createLinearAdapter(hira, options, modules.slice(0, 1));
  const adapted = { adapter, values: live(hira, 5).values };
  const rank = await analyseAdapter(narrow, adapted, { rank: true, norm: false, progress: quiet });
  const norm = await analyseAdapter(narrow, adapted, { rank: false, norm: true, progress: quiet });
  t.deepEqual(Object.keys(rank.modules[0] ?? {}), [
    "module",
    "shape",
    "rank",
    "largestSingularValue",
  ]);
  t.deepEqual(Object.keys(norm.modules[0] ?? {}), [
    "module",
    "shape",
    "updateNorm",
    "relativeNorm",
  ]);
});

test("analyseAdapter says that full fine-tuning has no targets", async (t) => {
  const adapter = createFullAdapter(fft, new Map());
  const error = await t.throwsAsync(analyse({ adapter, values: new Map() }), {
    instanceOf: UserError,
  });
  t.regex(
    error.message,
    /--peft_type=fft has trained: found no target modules, expected an adapter/,
  );
});

test("analyseAdapter refuses an update that is not finite", async (t) => {
  const adapted = live(hira, 11);
  const [first] = adapted.values.values();
  (first?.data as Float32Array)[0] = NaN;
  const error = await t.throwsAsync(analyse(adapted), { instanceOf: UserError });
  t.regex(error.message, /of layers\.0\.up_proj: found an update that is not finite/);
});

test("writeAdapterAnalysis writes names in snake_case and leaves out what was not computed", async (t) => {
  const path = join(await makeTempFolder(t), "analysis.json");
  await writeAdapterAnalysis(path, {
    method: "hira",
    modules: [{ module: "layer", shape: [4, 3], updateNorm: 0.5, relativeNorm: 0.25 }],
  });
  t.deepEqual(JSON.parse(await readFile(path, "utf8")), {
    method: "hira",
    rank_tolerance: 1e-3,
    modules: [{ module: "layer", shape: [4, 3], update_norm: 0.5, relative_norm: 0.25 }],
  });
});
