import { elementCount } from "../core/dtype.js";
import { UserError } from "../core/errors.js";
import { randomStream } from "../core/random.js";
import type { Graph } from "../graph/graph.js";
import { noLoss } from "../datasets/encoded-rows.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import { roundProducts } from "../graph/passes/round-products.js";
import { cpuPlan, type ComputePlan } from "../runtime/compute-plan.js";
import { cpuDevice } from "../runtime/devices/cpu.js";
import { deviceBounds, gradientBound, halfOf, type DeviceBounds } from "./device-bounds.js";
import {
  gradientErrors,
  largestError,
  relativeDifference,
  type BoundedError,
} from "./gradient-errors.js";
import { LossSession, type LossSessionOptions } from "./loss-session.js";
import { clearGradients, createParameterStore, type ParameterStore } from "./parameters.js";
import { causalLm } from "./tasks/causal-lm.js";
import type { TokenBatch } from "./tasks/task.js";

/** Whether this is the plan that all others are checked against: the CPU in float32. */
export const isReference = ({ device, precision }: ComputePlan): boolean =>
  device.name === "cpu" && precision === "fp32";

/** What a device and the CPU have computed of one small batch. */
export interface LossCheck {
  readonly loss: { readonly cpu: number; readonly device: number };
  /** Of every parameter that trains, none without gradients; in the order in which the graph computes them: from the last layer down. */
  readonly gradients: readonly BoundedError[];
  readonly bounds: DeviceBounds;
  readonly seconds: number;
}

/** What is checked: the graph of a run, and what it starts from. */
export interface DeviceCheckOptions {
  /** Of the run's own session, which the check's becomes. */
  readonly options: LossSessionOptions;
  readonly weights: FrozenWeights;
  /** Undefined for a plain model. */
  readonly store: ParameterStore | undefined;
  readonly plan: ComputePlan;
  /** Its first batch, of which a small part is computed. Default: made-up tokens. */
  readonly batch?: TokenBatch | undefined;
  /** Of what is drawn. Default 0. */
  readonly seed?: number | undefined;
}

/** Rows and columns of a check's batch, at most. */
const mostRows = 2;
const mostColumns = 64;
/** Columns before the first label, where they are cut. */
const contextColumns = 32;

/**
 * The first rows and some columns of a batch: those around its first label, or from column 0 where rows have classes.
 *
 * A part that would have no labels has more rows.
 */
export const smallBatch = ({
  batch,
  seq,
  inputIds,
  attentionMask,
  tokenTypes,
  labels,
  classes,
}: TokenBatch): TokenBatch => {
  const hasLabel = (row: number): boolean =>
    classes !== undefined ||
    labels.subarray(row * seq + 1, (row + 1) * seq).some((label) => label !== noLoss);
  const first = Math.max(0, Array.from({ length: batch }, (_, row) => row).findIndex(hasLabel));
  const rows = Math.min(batch - first, mostRows);
  const ofRows = labels.subarray(first * seq, (first + rows) * seq);
  const firstLabels = Array.from({ length: rows }, (_, row) => {
    const found = ofRows
      .subarray(row * seq, (row + 1) * seq)
      .findIndex((label, column) => column > 0 && label !== noLoss);
    return found < 0 ? seq : found;
  });
  const from = classes ? 0 : Math.max(0, Math.min(...firstLabels) - contextColumns);
  const width = Math.min(mostColumns, seq - from);
  const cut = <T extends BigInt64Array | Uint8Array | Int32Array>(all: T): T => {
    const part = all.slice(0, rows * width) as T;
    for (let row = 0; row < rows; row++) {
      const start = (first + row) * seq + from;
      (part as Uint8Array).set(all.subarray(start, start + width) as Uint8Array, row * width);
    }
    return part;
  };
  return {
    batch: rows,
    seq: width,
    inputIds: cut(inputIds),
    attentionMask: cut(attentionMask),
    ...(tokenTypes && { tokenTypes: cut(tokenTypes) }),
    labels: cut(labels),
    ...(classes && { classes: classes.slice(first, first + rows) }),
  };
};

/** Tokens of no meaning, all labelled: two rows, of which one is shorter. */
const madeUpBatch = ({ model, maxPositions, task = causalLm }: LossSessionOptions): TokenBatch => {
  const seq = Math.min(mostColumns / 2, maxPositions);
  const stream = randomStream(0, "device-check:tokens");
  const lengths = [seq, Math.ceil(seq / 2) + 1];
  const inputIds = new BigInt64Array(2 * seq);
  const attentionMask = new Uint8Array(2 * seq);
  const labels = new Int32Array(2 * seq).fill(noLoss);
  for (const [row, length] of lengths.entries())
    for (let column = 0; column < Math.min(length, seq); column++) {
      const id = stream.integer(model.vocabSize);
      inputIds[row * seq + column] = BigInt(id);
      attentionMask[row * seq + column] = 1;
      labels[row * seq + column] = id;
    }
  const hasClasses = task.name === "sequence-classification";
  const common = { batch: 2, seq, inputIds, attentionMask, labels };
  return hasClasses ? { ...common, classes: Int32Array.of(0, 1) } : common;
};

/** The standard deviation of what stands in a check in place of zeros: that of a model's weights at their start. */
const deviation = 0.02;

/**
 * Start values by name for those parameters that are zero throughout.
 *
 * LoRA's B is zero at the start, and then so is every gradient of A, right or wrong: with random numbers in its place none is.
 */
export const inPlaceOfZeros = (
  { values }: Pick<ParameterStore, "values">,
  { device }: ComputePlan,
  seed: number,
): ReadonlyMap<string, Float32Array> => {
  const zeros = [...values].filter(([, tensor]) => device.read(tensor).every((x) => x === 0));
  return new Map(
    zeros.map(([name, { shape }]) => {
      const stream = randomStream(seed, `device-check:${name}`);
      const length = elementCount(shape);
      return [name, Float32Array.from({ length }, () => deviation * stream.normal())] as const;
    }),
  );
};

/** In fp16 small gradients are zero unless the loss is scaled up, as training does too; a power of two changes no other bit. */
const lossScaleOf = ({ precision }: ComputePlan): number => (precision === "fp16" ? 2 ** 10 : 1);

/** The loss of a small batch; its gradients are in the store then. */
const runSmall = async (
  session: LossSession,
  { small, store, plan, options: { task = causalLm }, seed = 0 }: SmallCheck,
): Promise<number> => {
  if (store) clearGradients(store);
  const scale = lossScaleOf(plan);
  const labels = task.labelled(small).rows.length;
  const draw = { seed, step: 0, microBatch: 0 };
  const { loss } = await session.run(small, scale / Math.max(1, labels), { draw });
  return loss / scale;
};

type SmallCheck = DeviceCheckOptions & { readonly small: TokenBatch };

/** What one run has computed. */
interface Computed {
  readonly loss: number;
  /** By parameter. */
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** Loss and gradients by the CPU in float32, in memory of its own that goes again but for the gradients. */
const computeOnCpu = async (
  check: SmallCheck,
  moved: ReadonlyMap<string, Float32Array>,
  cpu = cpuPlan(check.plan.threads),
): Promise<Computed> => {
  const { options, weights, store, plan } = check;
  const copy =
    store &&
    createParameterStore({ parameters: store.parameters }, 0, ({ name }) => {
      const tensor = store.values.get(name);
      return moved.get(name) ?? (tensor && (plan.device.read(tensor) as Float32Array));
    });
  const session = await LossSession.create(options, weights, copy, cpu);
  try {
    const loss = await runSmall(session, { ...check, store: copy });
    const gradients = session.gradientOrder.map((name) => {
      const gradient = copy?.gradients.get(name)?.data ?? new Float32Array();
      return [name, gradient as Float32Array] as const;
    });
    return { loss, gradients: new Map(gradients) };
  } finally {
    session.dispose();
  }
};

/** The CPU in float32, with factors and results of all products rounded to 16 bits: how far right results may be away in these. */
export const roundedCpuPlan = (
  threads: number | undefined,
  half: "bfloat16" | "float16",
): ComputePlan => ({
  ...cpuPlan(threads),
  device: { ...cpuDevice, rewrite: (graph: Graph) => roundProducts(graph, half) },
});

/** How far the CPU's own gradients move, by parameter, where factors and results of all products are rounded to 16 bits. */
const roundingErrors = async (
  small: SmallCheck,
  moved: ReadonlyMap<string, Float32Array>,
  exact: Computed,
  half: "bfloat16" | "float16",
): Promise<ReadonlyMap<string, number>> => {
  const plan = roundedCpuPlan(small.plan.threads, half);
  const { gradients } = await computeOnCpu(small, moved, plan);
  const { smallest } = deviceBounds[small.plan.precision];
  const errors = gradientErrors(gradients, exact.gradients, smallest);
  return new Map(errors.map(({ name, error }) => [name, error]));
};

/**
 * Computes a small batch with a run's own graph twice, on the CPU in float32 and as the plan says, and compares loss and gradients.
 *
 * One session lives at a time, the CPU's first. The other one is the run's: nothing of it is made twice. The store is left as it was.
 * Where a parameter is zero throughout it has random numbers for the check, so that no gradient is zero and looks right whatever it is;
 * dropout draws the masks of the first step, on both. Where a gradient in 16 bits is further away than most are, the CPU computes all once more
 * with rounded products, which says how far each may be.
 * @returns the session, and what was found; see requireAgreement
 */
export const openChecked = async (
  check: DeviceCheckOptions,
): Promise<{ readonly session: LossSession; readonly found: LossCheck }> => {
  const { options, weights, store, plan, seed = 0 } = check;
  const started = performance.now();
  const small = { ...check, small: check.batch ? smallBatch(check.batch) : madeUpBatch(options) };
  const moved: ReadonlyMap<string, Float32Array> =
    store && options.gradients ? inPlaceOfZeros(store, plan, seed) : new Map<string, never>();
  const cpu = await computeOnCpu(small, moved);
  const bounds = deviceBounds[plan.precision];
  const open = (): Promise<LossSession> => LossSession.create(options, weights, store, plan);
  let session = await open();
  try {
    const { loss, gradients } = await computeOnDevice(session, small, moved);
    const errors = gradientErrors(gradients, cpu.gradients, bounds.smallest);
    const half = halfOf[plan.precision];
    let rounding: ReadonlyMap<string, number> | undefined;
    if (half && errors.some(({ error }) => error > bounds.gradient)) {
      session.dispose();
      rounding = await roundingErrors(small, moved, cpu, half);
      session = await open();
    }
    const found = {
      loss: { cpu: cpu.loss, device: loss },
      gradients: errors.map((each) => ({
        ...each,
        bound: gradientBound(bounds, rounding?.get(each.name) ?? 0),
      })),
      bounds,
      seconds: (performance.now() - started) / 1000,
    };
    return { session, found };
  } catch (error) {
    session.dispose();
    throw error;
  }
};

/** The same on the device, in the run's own store, which is then as it was. */
const computeOnDevice = async (
  session: LossSession,
  check: SmallCheck,
  moved: ReadonlyMap<string, Float32Array>,
): Promise<Computed> => {
  const { store, plan } = check;
  const { device } = plan;
  const setAll = (valuesOf: (moved: Float32Array) => Float32Array): void => {
    for (const [name, values] of moved) {
      const tensor = store?.values.get(name);
      if (tensor) device.write(tensor, valuesOf(values));
    }
  };
  setAll((values) => values);
  const loss = await runSmall(session, check);
  const gradients = session.gradientOrder.map((name): [string, Float32Array] => {
    const tensor = store?.gradients.get(name);
    if (!tensor) throw new RangeError(`Cannot check the gradient of ${name}: found none`);
    return [name, (device.read(tensor) as Float32Array).slice()];
  });
  setAll(({ length }) => new Float32Array(length));
  if (store) clearGradients(store);
  return { loss, gradients: new Map(gradients) };
};

/** Where a check says what it has found. */
export type TellCheck = (line: string) => void;

/**
 * A session for a run: checked where `tell` is given, which is then told what was found.
 *
 * @throws {UserError} as requireAgreement does
 */
export const openLossSession = async (
  check: DeviceCheckOptions,
  tell: TellCheck | undefined,
): Promise<LossSession> => {
  const { options, weights, store, plan } = check;
  if (!tell) return LossSession.create(options, weights, store, plan);
  const { session, found } = await openChecked(check);
  try {
    requireAgreement(found, plan);
  } catch (error) {
    session.dispose();
    throw error;
  }
  tell(describeCheck(found));
  return session;
};

const percent = (share: number): string => `${String(Number((100 * share).toPrecision(2)))} %`;

/** `Device check: loss 11.65324 (CPU 11.65357), largest gradient error 3.6 % of 15 % allowed (model.layers.3.self_attn.q_proj), 4.2 s` */
export const describeCheck = ({ loss, gradients, seconds }: LossCheck): string => {
  const largest = largestError(gradients);
  return [
    `Device check: loss ${loss.device.toPrecision(7)} (CPU ${loss.cpu.toPrecision(7)})`,
    ...(largest
      ? [
          `largest gradient error ${percent(largest.error)} of ${percent(largest.bound)} allowed (${largest.name})`,
        ]
      : []),
    `${seconds.toFixed(1)} s`,
  ].join(", ");
};

/** The first gradient in graph order that is further away than its bound; undefined where all are near. */
export const firstWrongGradient = ({ gradients }: LossCheck): BoundedError | undefined =>
  gradients.find(({ error, bound }) => !(error <= bound));

/**
 * That the device has computed what the CPU has.
 *
 * @throws {UserError} naming the first gradient in graph order that differs, the loss on both, and what to do
 */
export const requireAgreement = (found: LossCheck, { device, precision }: ComputePlan): void => {
  const { loss, bounds } = found;
  const gradient = firstWrongGradient(found);
  const lossIsNear = relativeDifference(loss.device, loss.cpu) <= bounds.loss;
  if (!gradient && lossIsNear) return;
  const losses = `loss ${loss.device.toPrecision(7)}, the CPU's ${loss.cpu.toPrecision(7)}`;
  const what = gradient
    ? `the gradient of ${gradient.name} ${Number.isFinite(gradient.error) ? `${percent(gradient.error)} away from the CPU's` : "not finite"}, expected at most ${percent(gradient.bound)} (${losses})`
    : `${losses}, expected it within ${percent(bounds.loss)} (every gradient is near enough)`;
  throw disagreement(`${device.description}, --precision=${precision}`, what);
};

/** What a device that disagrees with the CPU is refused with. */
export const disagreement = (where: string, what: string): UserError =>
  new UserError(
    `Cannot trust the numbers of ${where}: on a small batch found ${what}`,
    "Choose --device=cpu or another --precision, and please report this line with what hira doctor prints. --skip_device_check computes all the same",
  );
