import { prune } from "../graph/passes/prune.js";
import { shareSubexpressions } from "../graph/passes/share-subexpressions.js";
import type { Model } from "../models/model.js";
import { weightsOn } from "../models/weights/device-weights.js";
import { openGraph, type ComputePlan } from "../runtime/compute-plan.js";
import type { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";
import { freshBehind } from "./fresh-mask.js";
import {
  buildDecodeGraph,
  cacheNames,
  decodeInitializers,
  freshCache,
  writtenCache,
  type DecodeGraphOptions,
} from "./decode-graph.js";
import { cacheTypeOf, type CacheType } from "./slots.js";
import type { TreeCache } from "./tree-cache.js";
import { maskName, windowedMask, windowsIn } from "./window-mask.js";

/** New tokens, as many of every prompt, and what is asked of them. */
export interface FeedInput {
  /** [prompts * seq] */
  readonly tokens: readonly number[];
  readonly positions: readonly number[];
  /** The slots that the seq tokens of every prompt take. */
  readonly slotsOfPrompt: readonly number[];
  /** How many slots, from the first one on, hold anything that these tokens may see. */
  readonly slotsBefore: number;
  /** What each of them sees, its own slot included: float32 [prompts, 1, 1, seq, slots], 0 or MASKED. */
  readonly mask: Tensor;
  /** Which of the prompts * seq tokens get candidates. */
  readonly rows: readonly number[];
  readonly width: number;
  readonly signal: AbortSignal | undefined;
}

/** The candidates of the rows, see buildDecodeGraph. */
export interface Found {
  readonly logProbs: Float32Array;
  readonly ids: Int32Array;
  readonly normalizers: Float32Array;
}

/** The graph of prompts and steps as a session, which reads a cache and puts new tokens into it. */
export interface StepSession {
  /** Computes new tokens: their keys and values are in the cache afterwards. */
  feed(cache: TreeCache, input: FeedInput): Promise<Found>;
  dispose(): void;
}

/** What the session computes, and where. */
export interface StepSessionOptions extends Omit<DecodeGraphOptions, "cacheType" | "appends"> {
  readonly plan: ComputePlan;
  readonly prepack?: boolean | undefined;
}

const int64 = (shape: readonly number[], values: readonly number[]): Tensor =>
  Tensor.fromArray("int64", shape, BigInt64Array.from(values, BigInt));

/** The names of all caches, in the order of their tensors. */
const namesOf = ({ layers }: Model): readonly string[] =>
  Array.from({ length: layers }, (_, layer) => Object.values(cacheNames(layer))).flat();

/** The cache, as a run reads and continues it. */
interface CacheFeed {
  /** How the mask of each kind of layer is given. */
  readonly maskFor: (mask: Tensor) => Tensor;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: Readonly<Record<string, Tensor>>;
  /** What is made for this run alone. */
  readonly own: readonly Tensor[];
  /** After the run. */
  readonly finish: () => void;
}

/** The caches are inputs and outputs at once: the session writes new keys and values into their slots. */
const writeInPlace = (
  { model }: { readonly model: Model },
  cache: TreeCache,
  { slotsOfPrompt }: FeedInput,
): CacheFeed => {
  const places: number[] = [];
  for (let prompt = 0; prompt < cache.prompts; prompt++)
    for (let head = 0; head < model.kvHeads; head++)
      for (const slot of slotsOfPrompt) places.push(prompt, head, slot);
  const slots = int64([cache.prompts, model.kvHeads, slotsOfPrompt.length, 3], places);
  const inputs: Record<string, Tensor> = { slots };
  const outputs: Record<string, Tensor> = {};
  namesOf(model).forEach((name, i) => {
    const tensor = cache.tensors[i];
    if (!tensor) throw new RangeError("Cannot decode: found the batch's cache disposed");
    inputs[name] = outputs[writtenCache(name)] = tensor;
  });
  return { maskFor: (mask) => mask, inputs, outputs, own: [slots], finish: () => undefined };
};

/** The caches are inputs alone: new keys and values come out in memory that is kept from run to run, and are appended here. */
class Appender {
  readonly #model: Model;
  readonly #dtype: CacheType;
  #fresh: readonly Tensor[] = [];
  /** In place of caches that hold nothing yet: one slot that nobody sees. */
  #nothing: Tensor | undefined;

  constructor(model: Model, dtype: CacheType) {
    this.#model = model;
    this.#dtype = dtype;
  }

  feed(cache: TreeCache, { slotsOfPrompt, slotsBefore }: FeedInput): CacheFeed {
    const { prompts } = cache;
    const nothing = slotsBefore === 0 ? this.#nothingFor(prompts) : undefined;
    const fresh = this.#freshFor([prompts, slotsOfPrompt.length]);
    const inputs: Record<string, Tensor> = {};
    const outputs: Record<string, Tensor> = {};
    namesOf(this.#model).forEach((name, i) => {
      const [tensor, added] = [nothing ?? cache.tensors[i], fresh[i]];
      if (!tensor || !added)
        throw new RangeError("Cannot decode: found the batch's cache disposed");
      inputs[name] = tensor;
      outputs[freshCache(name)] = added;
    });
    return {
      maskFor: (mask) => freshBehind(mask, slotsOfPrompt, nothing ? 1 : cache.slots),
      inputs,
      outputs,
      own: [],
      finish: () => {
        cache.append(slotsOfPrompt, fresh);
      },
    };
  }

  #nothingFor(prompts: number): Tensor {
    const { kvHeads, headDim } = this.#model;
    if (this.#nothing?.shape[0] !== prompts)
      this.#nothing = Tensor.zeros(this.#dtype, [prompts, kvHeads, 1, headDim]);
    return this.#nothing;
  }

  /** Memory for so many prompts and tokens: that of the run before, where it was as many. */
  #freshFor([prompts, seq]: readonly [number, number]): readonly Tensor[] {
    const { kvHeads, headDim, layers } = this.#model;
    const [first] = this.#fresh;
    if (first?.shape[0] === prompts && first.shape[2] === seq) return this.#fresh;
    for (const tensor of this.#fresh) tensor.dispose();
    this.#fresh = Array.from({ length: 2 * layers }, () =>
      Tensor.zeros(this.#dtype, [prompts, kvHeads, seq, headDim]),
    );
    return this.#fresh;
  }
}

class GraphSession implements StepSession {
  readonly #session: Session;
  readonly #windows: readonly (number | undefined)[];
  readonly #cacheFeed: (cache: TreeCache, input: FeedInput) => CacheFeed;

  constructor(
    session: Session,
    windows: readonly (number | undefined)[],
    cacheFeed: (cache: TreeCache, input: FeedInput) => CacheFeed,
  ) {
    this.#session = session;
    this.#windows = windows;
    this.#cacheFeed = cacheFeed;
  }

  async feed(cache: TreeCache, input: FeedInput): Promise<Found> {
    await cache.ready();
    const { prompts } = cache;
    const seq = input.slotsOfPrompt.length;
    const { maskFor, inputs, outputs, own, finish } = this.#cacheFeed(cache, input);
    const masks = this.#windows.map((window): [string, Tensor] => [
      maskName(window),
      maskFor(window === undefined ? input.mask : windowedMask(input.mask, window)),
    ]);
    const feeds = {
      tokens: int64([prompts, seq], input.tokens),
      positions: int64([prompts, seq], input.positions),
      ...Object.fromEntries(masks),
      rows: int64([input.rows.length], input.rows),
      width: int64([1], [input.width]),
    };
    const { signal } = input;
    try {
      const run = await this.#session.run(
        { ...feeds, ...inputs },
        outputs,
        signal ? { signal } : {},
      );
      finish();
      const { logProbs, ids, normalizers } = run;
      const found = {
        logProbs: (logProbs?.data as Float32Array).slice(),
        ids: (ids?.data as Int32Array).slice(),
        normalizers: (normalizers?.data as Float32Array).slice(),
      };
      for (const tensor of [logProbs, ids, normalizers]) tensor?.dispose();
      return found;
    } finally {
      for (const tensor of [...Object.values(feeds), ...own, input.mask]) tensor.dispose();
    }
  }

  dispose(): void {
    this.#session.dispose();
  }
}

/**
 * The session of a model's prompts and steps. Where the device's runs write the whole of what they continue, new keys and values come out of
 * it alone, and the host appends them.
 *
 * @throws what Device.createSession throws
 */
export const openStepSession = async ({
  plan,
  prepack,
  ...given
}: StepSessionOptions): Promise<StepSession> => {
  const { model, maxPositions } = given;
  const appends = plan.device.rewritesOutputs ?? false;
  const cacheType = cacheTypeOf(plan.precision);
  const options = { ...given, weights: weightsOn(plan.device, given.weights), cacheType, appends };
  const graph = shareSubexpressions(prune(buildDecodeGraph(options)));
  const session = await openGraph(plan, graph, {
    initializers: decodeInitializers(graph, options),
    // One would widen narrow weights for good; the other, which looks for 1 / x, would read DoRA's magnitudes while loading.
    disabledOptimizers: ["ConstantFolding", "DivMulFusion"],
    prepack,
  });
  const appender = new Appender(model, cacheType);
  return new GraphSession(session, windowsIn(model.windows, maxPositions), (cache, input) =>
    appends ? appender.feed(cache, input) : writeInPlace({ model }, cache, input),
  );
};
