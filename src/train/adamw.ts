import { Graph } from "../graph/graph.js";
import { cpuPlan, openGraph, type ComputePlan } from "../runtime/compute-plan.js";
import type { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import type { ParameterGroup, ParameterStore } from "./parameters.js";

/** AdamW's constants. Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019. */
export interface AdamWOptions {
  /** Decay rates of the first and second moment. */
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Decoupled; applied to the parameters whose group decays. */
  readonly weightDecay: number;
}

/** torch.optim.AdamW's defaults, which transformers' Trainer keeps but for the decay that it is asked for. */
export const defaultAdamW: AdamWOptions = {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
};

/** Elements an update works on at a time: temporaries stay at a few megabytes whatever the model. */
const CHUNK = 1 << 20;

/**
 * One AdamW update of n elements, in place:
 * g' = clip * g, m = b1 m + (1 - b1) g', v = b2 v + (1 - b2) g'^2, p = keep * p - rate * m / (sqrt(v) * root + epsilon),
 * where keep = 1 - lr * decay, rate = lr / (1 - b1^t), root = 1 / sqrt(1 - b2^t).
 * Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization"; the order of operations is torch.optim.AdamW's.
 */
const buildUpdate = ({ beta1, beta2, epsilon }: AdamWOptions): Graph => {
  const g = new Graph();
  const vector = (name: string) => g.input(name, "float32", ["n"]);
  const number = (name: string) => g.input(name, "float32", []);
  const constant = (value: number) => g.scalar(value, "float32");
  const [p, gradient, m, v] = [vector("p"), vector("g"), vector("m"), vector("v")];
  const [clip, keep, rate, root] = [number("clip"), number("keep"), number("rate"), number("root")];
  const clipped = g.mul(gradient, clip);
  const m1 = g.add(g.mul(m, constant(beta1)), g.mul(clipped, constant(1 - beta1)));
  const v1 = g.add(g.mul(v, constant(beta2)), g.mul(g.mul(clipped, clipped), constant(1 - beta2)));
  const denominator = g.add(g.mul(g.sqrt(v1), root), constant(epsilon));
  g.output("p1", g.sub(g.mul(p, keep), g.mul(g.div(m1, denominator), rate)));
  g.output("m1", m1);
  g.output("v1", v1);
  return g;
};

const buildSumOfSquares = (): Graph => {
  const g = new Graph();
  const x = g.input("x", "float32", ["n"]);
  g.output("sum", g.reduceSum(g.mul(x, x), { axes: [0] }));
  return g;
};

interface Chunk {
  readonly decays: boolean;
  readonly p: Tensor;
  readonly g: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
}

const cut = (group: ParameterGroup): readonly Chunk[] => {
  const starts = Array.from({ length: Math.ceil(group.length / CHUNK) }, (_, i) => i * CHUNK);
  return starts.map((start) => {
    const shape = [Math.min(CHUNK, group.length - start)];
    return {
      decays: group.decays,
      p: group.values.view(start, shape),
      g: group.gradients.view(start, shape),
      m: group.m.view(start, shape),
      v: group.v.view(start, shape),
    };
  });
};

/** AdamW over a parameter store, on the device where the store lives. */
export class AdamW {
  readonly #options: AdamWOptions;
  readonly #chunks: readonly Chunk[];
  readonly #update: Session;
  readonly #sumOfSquares: Session;

  private constructor(
    options: AdamWOptions,
    store: ParameterStore,
    update: Session,
    sumOfSquares: Session,
  ) {
    this.#options = options;
    this.#chunks = store.groups.flatMap(cut);
    this.#update = update;
    this.#sumOfSquares = sumOfSquares;
  }

  static async create(
    store: ParameterStore,
    options: AdamWOptions,
    plan: ComputePlan = cpuPlan(),
  ): Promise<AdamW> {
    // Moments and masters are float32 in every precision.
    const exact: ComputePlan = { ...plan, precision: "fp32" };
    return new AdamW(
      options,
      store,
      await openGraph(exact, buildUpdate(options)),
      await openGraph(exact, buildSumOfSquares()),
    );
  }

  /** The Euclidean norm of all gradients; NaN or infinite where one of them is. */
  async gradientNorm(): Promise<number> {
    let total = 0;
    for (const { g } of this.#chunks) {
      const { sum } = await this.#sumOfSquares.run({ x: g });
      total += (sum?.data as Float32Array)[0] ?? NaN;
      sum?.dispose();
    }
    return Math.sqrt(total);
  }

  /** Updates every parameter. `step` counts from 1; `clip` is the factor by which gradients are scaled first. */
  async update(step: number, learningRate: number, clip: number): Promise<void> {
    const { beta1, beta2, weightDecay } = this.#options;
    const number = (value: number) => Tensor.fromArray("float32", [], Float32Array.of(value));
    const scalars = {
      clip: number(clip),
      rate: number(learningRate / (1 - beta1 ** step)),
      root: number(1 / Math.sqrt(1 - beta2 ** step)),
    };
    const keep = { decayed: number(1 - learningRate * weightDecay), whole: number(1) };
    for (const { decays, p, g, m, v } of this.#chunks)
      await this.#update.run(
        { p, g, m, v, ...scalars, keep: decays ? keep.decayed : keep.whole },
        { p1: p, m1: m, v1: v },
      );
  }

  dispose(): void {
    this.#update.dispose();
    this.#sumOfSquares.dispose();
  }
}

/** torch.nn.utils.clip_grad_norm_: min(1, maxNorm / (norm + 1e-6)); 0 or less clips nothing. */
export const clipFactor = (norm: number, maxNorm: number): number =>
  maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1;
