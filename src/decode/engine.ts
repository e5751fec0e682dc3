import { MASKED } from "../models/blocks/attention.js";
import type { Model } from "../models/model.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import { virtualId } from "../peft/virtual-tokens.js";
import { cpuPlan, type ComputePlan } from "../runtime/compute-plan.js";
import { Tensor } from "../runtime/tensor.js";
import type { LiveAdapter } from "./decode-graph.js";
import type {
  Candidates,
  DecodeEngine,
  DecodeRun,
  Prompt,
  StartOptions,
  StepInput,
} from "./step-engine.js";
import { openDeviceSlots } from "./device-slots.js";
import { openHostSlots } from "./host-slots.js";
import { cacheTypeOf, type CacheType, type SlotAllocator } from "./slots.js";
import { openStepSession, type StepSession } from "./step-session.js";
import { TreeCache } from "./tree-cache.js";
import { bakeLiveAdapter, prefixOf, type Prefix } from "./virtual-tokens.js";

/** The model to decode with, and how its session computes. */
export interface EngineOptions {
  readonly model: Model;
  /** The model's tensors; float32 ones compute fastest, narrower ones are widened in every step. */
  readonly weights: Pick<FrozenWeights, "tensor" | "typeOf">;
  /** The longest prompt and its new tokens together; virtual tokens come on top. */
  readonly maxPositions: number;
  /** An adapter that is not merged into `weights`. */
  readonly live?: LiveAdapter | undefined;
  /** Default: the CPU in float32. */
  readonly plan?: ComputePlan | undefined;
  /** Whether to repack weights for speed, which takes their size in memory once more. Default false. */
  readonly prepack?: boolean | undefined;
  /** Bytes that the activations of one run over prompts may take; longer prompts are fed in pieces. Default 256 MiB. */
  readonly activationBytes?: number;
}

/** Columns of prompts that are fed at once at most: scores of more come out of the processor's caches, and whole ones grow with the square. */
const PROMPT_COLUMNS = 512;

/** What makes room for keys and values where the plan's device computes. */
const openSlots = async (plan: ComputePlan, model: Model): Promise<SlotAllocator> =>
  plan.device.place === "host"
    ? openHostSlots()
    : openDeviceSlots(plan, { ...model, dtype: cacheTypeOf(plan.precision) });

/** A model in an ONNX Runtime session, for any number of batches one after the other. */
export class ModelEngine implements DecodeEngine {
  readonly vocabularySize: number;
  readonly maxPositions: number;
  readonly #session: StepSession;
  readonly #cacheType: CacheType;
  /** Where caches lie. */
  readonly #slots: SlotAllocator;
  readonly #config: Model;
  readonly #activationBytes: number;
  /** Ids in front of every prompt. */
  #virtualIds: readonly number[] = [];
  /** Keys and values in front of every prompt's. */
  #prefix: Prefix | undefined;

  private constructor(session: StepSession, slots: SlotAllocator, options: EngineOptions) {
    this.#session = session;
    this.#slots = slots;
    this.#cacheType = cacheTypeOf(options.plan?.precision ?? "fp32");
    this.#config = options.model;
    this.#activationBytes = options.activationBytes ?? 2 ** 28;
    this.vocabularySize = options.model.vocabSize;
    this.maxPositions = options.maxPositions;
  }

  /** @throws what Device.createSession throws */
  static async create(given: EngineOptions): Promise<ModelEngine> {
    const live = given.live && (await bakeLiveAdapter(given.live, given.model));
    const virtual = live?.adapter.virtual;
    const { plan = cpuPlan(), prepack } = given;
    const maxPositions = given.maxPositions + (virtual?.count ?? 0);
    const session = await openStepSession({ ...given, live, maxPositions, plan, prepack });
    const engine = new ModelEngine(session, await openSlots(plan, given.model), given);
    if (virtual?.form === "embeddings")
      engine.#virtualIds = Array.from({ length: virtual.count }, (_, i) =>
        virtualId(given.model.vocabSize, i),
      );
    else if (virtual) {
      const table = live?.values.get(virtual.result)?.data as Float32Array;
      engine.#prefix = prefixOf(table, given.model);
    }
    return engine;
  }

  /** @throws {RangeError} if a prompt is empty, or reaches beyond `maxPositions` with its new tokens */
  async start(
    prompts: readonly Prompt[],
    { numBeams, maxNewTokens, width, signal }: StartOptions,
  ): Promise<{ run: DecodeRun; candidates: Candidates }> {
    const lengths = prompts.map(({ ids }) => ids.length);
    if (lengths.includes(0)) throw new RangeError("Cannot decode: found a prompt of no tokens");
    const longest = Math.max(...lengths);
    if (longest + maxNewTokens > this.maxPositions)
      throw new RangeError(
        `Cannot decode ${String(longest)} tokens and ${String(maxNewTokens)} new ones: found more than the engine's ${String(this.maxPositions)} positions`,
      );
    const shape = { ...this.#config, numBeams, dtype: this.#cacheType };
    const front = this.#virtualIds.length + (this.#prefix?.length ?? 0);
    const slots = lengths.map((length) => front + length);
    const cache = new TreeCache(shape, slots, maxNewTokens - 1, this.#slots);
    try {
      if (this.#prefix) cache.writePrefix(this.#prefix.layers);
      const whole = prompts.map(({ ids }) => [...this.#virtualIds, ...ids]);
      const candidates = await this.#feedPrompts(cache, whole, width, signal);
      return { run: new ModelRun(this.#feedBeams, cache, slots, signal), candidates };
    } catch (error) {
      cache.dispose();
      throw error;
    }
  }

  dispose(): void {
    this.#session.dispose();
    this.#slots.dispose();
  }

  /** Runs the prompts behind the prefix, padded at the right: by causality no token sees the padding. */
  async #feedPrompts(
    cache: TreeCache,
    prompts: readonly (readonly number[])[],
    width: number,
    signal: AbortSignal | undefined,
  ): Promise<Candidates> {
    const { slots } = cache;
    const first = this.#prefix?.length ?? 0;
    const result = {
      beams: 1,
      width,
      logProbs: new Float32Array(prompts.length * width),
      ids: new Int32Array(prompts.length * width),
      normalizers: new Float32Array(prompts.length),
    };
    const piece = Math.min(PROMPT_COLUMNS, this.#pieceLength(prompts.length, slots));
    for (let start = first; start < slots; start += piece) {
      const seq = Math.min(piece, slots - start);
      const columns = Array.from({ length: seq }, (_, i) => start + i);
      const mask = new Float32Array(seq * slots).fill(MASKED);
      columns.forEach((column, i) => mask.fill(0, i * slots, i * slots + column + 1));
      const masks = new Float32Array(prompts.length * mask.length);
      prompts.forEach((_, prompt) => {
        masks.set(mask, prompt * mask.length);
      });
      const ending = prompts.flatMap(({ length }, prompt) =>
        first + length > start && first + length <= start + seq ? [prompt] : [],
      );
      const found = await this.#session.feed(cache, {
        tokens: prompts.flatMap((ids) => columns.map((column) => ids[column - first] ?? 0)),
        positions: prompts.flatMap(() => columns),
        slotsOfPrompt: columns,
        slotsBefore: start,
        mask: Tensor.fromArray("float32", [prompts.length, 1, 1, seq, slots], masks),
        // Where no prompt ends in this piece, some row must still be asked for.
        rows:
          ending.length === 0
            ? [0]
            : ending.map(
                (prompt) => prompt * seq + first + (prompts[prompt]?.length ?? 1) - 1 - start,
              ),
        width,
        signal,
      });
      ending.forEach((prompt, i) => {
        result.logProbs.set(found.logProbs.subarray(i * width, (i + 1) * width), prompt * width);
        result.ids.set(found.ids.subarray(i * width, (i + 1) * width), prompt * width);
        result.normalizers[prompt] = found.normalizers[i] ?? NaN;
      });
    }
    return result;
  }

  /** Columns that are fed at once: as many as the activations of all prompts have room for, `logits` values of each included. */
  #pieceLength(prompts: number, slots: number, logits = 0): number {
    const { hiddenSize, intermediateSize, heads } = this.#config;
    // Float32 values that live at once for one token: the MLP's three products, some hidden states, three forms of scores.
    const values = 3 * intermediateSize + 4 * hiddenSize + 3 * heads * slots + logits;
    return Math.max(16, Math.floor(this.#activationBytes / (4 * values * prompts)));
  }

  /** Feeds one token to every beam of every prompt: a piece of the beams at a time, where there are very many. */
  readonly #feedBeams: FeedBeams = async (
    cache,
    { tokens, parents, width },
    { positions, signal },
  ) => {
    const first = cache.advance(parents);
    const { prompts, slots } = cache;
    const beams = tokens.length / prompts;
    // Three forms of the logits: they, their exponentials, and what TopK sorts.
    const piece = Math.min(beams, this.#pieceLength(prompts, slots, 3 * this.vocabularySize));
    const result = {
      beams,
      width,
      logProbs: new Float32Array(tokens.length * width),
      ids: new Int32Array(tokens.length * width),
      normalizers: new Float32Array(tokens.length),
    };
    for (let start = 0; start < beams; start += piece) {
      const seq = Math.min(piece, beams - start);
      const fed = Array.from({ length: seq }, (_, i) => start + i);
      const found = await this.#session.feed(cache, {
        tokens: positions.flatMap((_, prompt) =>
          fed.map((beam) => tokens[prompt * beams + beam] ?? 0),
        ),
        positions: positions.flatMap((position) => fed.map(() => position)),
        slotsOfPrompt: fed.map((beam) => first + beam),
        slotsBefore: first + start,
        mask: cache.maskOf(start, seq),
        rows: Array.from({ length: prompts * seq }, (_, row) => row),
        width,
        signal,
      });
      for (let prompt = 0; prompt < prompts; prompt++) {
        const [from, to] = [prompt * seq * width, (prompt * beams + start) * width];
        result.logProbs.set(found.logProbs.subarray(from, from + seq * width), to);
        result.ids.set(found.ids.subarray(from, from + seq * width), to);
        result.normalizers.set(
          found.normalizers.subarray(prompt * seq, (prompt + 1) * seq),
          prompt * beams + start,
        );
      }
    }
    return result;
  };
}

/** Feeds one token to every beam; `positions` has the next one of every prompt. */
type FeedBeams = (
  cache: TreeCache,
  input: StepInput,
  state: { readonly positions: readonly number[]; readonly signal: AbortSignal | undefined },
) => Promise<Candidates>;

/** A batch in the session of an engine. */
class ModelRun implements DecodeRun {
  readonly #feed: FeedBeams;
  readonly #cache: TreeCache;
  readonly #signal: AbortSignal | undefined;
  /** The position of the next token of every prompt. */
  #positions: readonly number[];

  constructor(
    feed: FeedBeams,
    cache: TreeCache,
    lengths: readonly number[],
    signal: AbortSignal | undefined,
  ) {
    this.#feed = feed;
    this.#cache = cache;
    this.#positions = lengths;
    this.#signal = signal;
  }

  async step(input: StepInput): Promise<Candidates> {
    const candidates = await this.#feed(this.#cache, input, {
      positions: this.#positions,
      signal: this.#signal,
    });
    this.#positions = this.#positions.map((position) => position + 1);
    return candidates;
  }

  keep(places: readonly number[]): void {
    this.#cache.keep(places);
    this.#positions = places.map((place) => this.#positions[place] ?? 0);
  }

  dispose(): void {
    this.#cache.dispose();
  }
}
