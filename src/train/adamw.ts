import type { Shape } from "../core/dim.js";
import { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { cpuPlan, openGraph, type ComputePlan } from "../runtime/compute-plan.js";
import type { Device } from "../runtime/device.js";
import type { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import type { ParameterGroup } from "./parameter-group.js";
import { requirePlaceOf, type ParameterStore } from "./parameters.js";
import type { Shards } from "./shards.js";

/** AdamW's constants. Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019. */
export interface AdamWOptions {
  /** Decay rates of the first and second moment. */
  readonly beta1: number;
  readonly beta2: number;
  readonly epsilon: number;
  /** Applied to the parameters whose group decays. */
  readonly weightDecay: number;
  /** Default true. False: decay is a part of the gradient, which is Adam with a penalty of the squared weights. */
  readonly isDecoupled?: boolean;
  /** Default true. False: the moments count as they are, as if every update were a late one. */
  readonly biasCorrection?: boolean;
}

/** torch.optim.AdamW's defaults, which transformers' Trainer keeps but for the decay that it is asked for. */
export const defaultAdamW: AdamWOptions = {
  beta1: 0.9,
  beta2: 0.999,
  epsilon: 1e-8,
  weightDecay: 0.01,
};

/** Elements an update works on at a time: temporaries stay at a few megabytes whatever the model, and on a device at a few more. */
const CHUNK = { host: 1 << 20, device: 1 << 22 } as const;

/** The numbers of one update, which all elements share. */
interface Scalars {
  readonly clip: Value;
  readonly rate: Value;
  readonly root: Value;
}

const scalarInputs = (g: Graph): Scalars => {
  const number = (name: string): Value => g.input(name, "float32", []);
  return { clip: number("clip"), rate: number("rate"), root: number("root") };
};

/**
 * One AdamW update of the elements of `p<tag>`, in place:
 * g' = clip * g, m = b1 m + (1 - b1) g', v = b2 v + (1 - b2) g'^2, p = keep * p - rate * m / (sqrt(v) * root + epsilon),
 * where keep = 1 - lr * decay, rate = lr / (1 - b1^t), root = 1 / sqrt(1 - b2^t); without `decay` keep is 1.
 * Where decay is not decoupled, g' = clip * g + decay * p, and keep is 1. Without bias correction rate = lr, root = 1.
 * Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization"; the order of operations is torch.optim.AdamW's.
 */
const addUpdate = (
  g: Graph,
  { beta1, beta2, epsilon, isDecoupled = true }: AdamWOptions,
  { clip, rate, root }: Scalars,
  {
    tag,
    shape,
    decay,
  }: {
    readonly tag: string;
    readonly shape: Shape;
    /** What decayScalar says. */
    readonly decay: Value | undefined;
  },
): void => {
  const input = (name: string): Value => g.input(`${name}${tag}`, "float32", shape);
  const constant = (value: number): Value => g.scalar(value, "float32");
  const [p, gradient, m, v] = [input("p"), input("g"), input("m"), input("v")];
  const plain = g.mul(gradient, clip);
  const clipped = decay && !isDecoupled ? g.add(plain, g.mul(p, decay)) : plain;
  const m1 = g.add(g.mul(m, constant(beta1)), g.mul(clipped, constant(1 - beta1)));
  const v1 = g.add(g.mul(v, constant(beta2)), g.mul(g.mul(clipped, clipped), constant(1 - beta2)));
  const denominator = g.add(g.mul(g.sqrt(v1), root), constant(epsilon));
  const kept = decay && isDecoupled ? g.mul(p, decay) : p;
  g.output(`p1${tag}`, g.sub(kept, g.mul(g.div(m1, denominator), rate)));
  g.output(`m1${tag}`, m1);
  g.output(`v1${tag}`, v1);
};

/** The sum of squares of `x`, an axis after the other. */
const sumOfSquares = (g: Graph, x: Value): Value =>
  x.shape.reduce<Value>((sum) => g.reduceSum(sum, { axes: [sum.shape.length - 1] }), g.mul(x, x));

/** A stretch of a group's buffers. */
interface Piece {
  readonly decays: boolean;
  readonly p: Tensor;
  readonly g: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
}

const cut = (group: ParameterGroup, { canSlice, place }: Device): readonly Piece[] => {
  const { decays, values: p, gradients: g, m, v } = group;
  if (!canSlice) return [{ decays, p, g, m, v }];
  const chunk = CHUNK[place === "host" ? "host" : "device"];
  const starts = Array.from({ length: Math.ceil(group.length / chunk) }, (_, i) => i * chunk);
  return starts.map((start) => {
    const part = (whole: Tensor): Tensor =>
      whole.view(start, [Math.min(chunk, group.length - start)]);
    return { decays, p: part(p), g: part(g), m: part(m), v: part(v) };
  });
};

/** The numbers of one update. */
interface UpdateScalars {
  readonly clip: Tensor;
  readonly rate: Tensor;
  readonly root: Tensor;
  /** Of groups that decay; see decayScalar. */
  readonly decay: Tensor;
}

/**
 * Decoupled, the factor of a value: 1 - lr * decay; else the share of a value that its gradient gets. Without a rate: as if
 * there were no decay.
 */
const decayScalar = (
  { isDecoupled = true, weightDecay }: AdamWOptions,
  learningRate?: number,
): number => {
  if (learningRate === undefined) return isDecoupled ? 1 : 0;
  return isDecoupled ? 1 - learningRate * weightDecay : weightDecay;
};

/** How a device goes over the pieces of a store. */
interface Passes {
  /** The sum of squares of all gradients. */
  sumOfSquares(): Promise<number>;
  update(scalars: UpdateScalars): Promise<void>;
  dispose(): void;
}

const numberOf = (tensor: Tensor | undefined): number => {
  const [number = NaN] = (tensor?.data ?? []) as Float32Array;
  tensor?.dispose();
  return number;
};

/** A run a piece: in host memory a run costs microseconds, and sums of pieces are added in double precision. */
const openPieceByPiece = async (
  pieces: readonly Piece[],
  options: AdamWOptions,
  plan: ComputePlan,
): Promise<Passes> => {
  const updates = new Graph();
  const decay = updates.input("decay", "float32", []);
  addUpdate(updates, options, scalarInputs(updates), { tag: "", shape: ["n"], decay });
  const sums = new Graph();
  sums.output("sum", sumOfSquares(sums, sums.input("x", "float32", ["n"])));
  const [update, sum] = [await openGraph(plan, updates), await openGraph(plan, sums)];
  return {
    async sumOfSquares() {
      let total = 0;
      for (const { g } of pieces) total += numberOf((await sum.run({ x: g })).sum);
      return total;
    },
    async update({ decay: decayed, ...scalars }) {
      const whole = scalarTensor(decayScalar(options));
      for (const { decays, p, g, m, v } of pieces)
        await update.run(
          { p, g, m, v, ...scalars, decay: decays ? decayed : whole },
          { p1: p, m1: m, v1: v },
        );
    },
    dispose() {
      update.dispose();
      sum.dispose();
    },
  };
};

/** One run over all pieces: on a device of its own memory each run and each number that comes back costs a wait. */
const openAllAtOnce = async (
  pieces: readonly Piece[],
  options: AdamWOptions,
  plan: ComputePlan,
): Promise<Passes> => {
  const updates = new Graph();
  const scalars = scalarInputs(updates);
  const decays = pieces.some((piece) => piece.decays);
  const decay = decays ? updates.input("decay", "float32", []) : undefined;
  const sums = new Graph();
  const squares = pieces.map((piece, i) => {
    const [tag, { shape }] = [`.${String(i)}`, piece.p];
    addUpdate(updates, options, scalars, { tag, shape, decay: piece.decays ? decay : undefined });
    return sumOfSquares(sums, sums.input(`g${tag}`, "float32", shape));
  });
  sums.output(
    "sum",
    squares.reduce((x, y) => sums.add(x, y), sums.scalar(0, "float32")),
  );
  // Nothing here can be fused; looking for it takes a second for 300 parameters.
  const open = (graph: Graph): Promise<Session> => openGraph(plan, graph, { optimization: "none" });
  const [update, sum] = [await open(updates), await open(sums)];
  const named = (name: string, tensorOf: (piece: Piece) => Tensor): Record<string, Tensor> =>
    Object.fromEntries(pieces.map((piece, i) => [`${name}.${String(i)}`, tensorOf(piece)]));
  const gradients = named("g", ({ g }) => g);
  const inputs = {
    ...{ ...named("p", ({ p }) => p), ...gradients },
    ...{ ...named("m", ({ m }) => m), ...named("v", ({ v }) => v) },
  };
  const outputs = {
    ...named("p1", ({ p }) => p),
    ...{ ...named("m1", ({ m }) => m), ...named("v1", ({ v }) => v) },
  };
  return {
    sumOfSquares: async () => numberOf((await sum.run(gradients)).sum),
    async update({ decay: decayed, ...numbers }) {
      await update.run({ ...inputs, ...numbers, ...(decays && { decay: decayed }) }, outputs);
    },
    dispose() {
      update.dispose();
      sum.dispose();
    },
  };
};

const scalarTensor = (value: number): Tensor =>
  Tensor.fromArray("float32", [], Float32Array.of(value));

/** AdamW over a parameter store, on the device where the store lives. */
export class AdamW {
  readonly #options: AdamWOptions;
  readonly #passes: Passes;

  private constructor(options: AdamWOptions, passes: Passes) {
    this.#options = options;
    this.#passes = passes;
  }

  /** @throws {RangeError} unless the plan's device is the store's */
  static async create(
    store: ParameterStore,
    options: AdamWOptions,
    plan: ComputePlan = cpuPlan(),
  ): Promise<AdamW> {
    requirePlaceOf(plan.device, store);
    // Moments and masters are float32 in every precision.
    const exact: ComputePlan = { ...plan, precision: "fp32" };
    const pieces = store.groups.flatMap((group) => cut(group, plan.device));
    const open = plan.device.place === "host" ? openPieceByPiece : openAllAtOnce;
    return new AdamW(options, await open(pieces, options, exact));
  }

  /**
   * The Euclidean norm of all gradients; NaN or infinite where one of them is.
   *
   * @param shards where other processes have the other shares of the gradients
   */
  async gradientNorm(shards?: Pick<Shards, "total">): Promise<number> {
    const sum = await this.#passes.sumOfSquares();
    return Math.sqrt(shards ? await shards.total(sum) : sum);
  }

  /** Updates every parameter. `step` counts from 1; `clip` is the factor by which gradients are scaled first. */
  async update(step: number, learningRate: number, clip: number): Promise<void> {
    const { beta1, beta2, biasCorrection = true } = this.#options;
    const corrected = (beta: number): number => (biasCorrection ? 1 - beta ** step : 1);
    await this.#passes.update({
      clip: scalarTensor(clip),
      rate: scalarTensor(learningRate / corrected(beta1)),
      root: scalarTensor(1 / Math.sqrt(corrected(beta2))),
      decay: scalarTensor(decayScalar(this.#options, learningRate)),
    });
  }

  dispose(): void {
    this.#passes.dispose();
  }
}

/** torch.nn.utils.clip_grad_norm_: min(1, maxNorm / (norm + 1e-6)); 0 or less clips nothing. */
export const clipFactor = (norm: number, maxNorm: number): number =>
  maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1;
