import type { CutGraph, GraphPart, PartSource } from "../graph/passes/cut-by-layer.js";
import type { RunOptions, Session } from "./session.js";
import { Tensor } from "./tensor.js";

/** A part of a step, as those see it who bring what it reads and fetch what it gives. */
export interface StepPart {
  /** From 0, in the order in which they run. */
  readonly index: number;
  /** "layer 3 backward". */
  readonly name: string;
  /** The inputs and weights of the whole graph that it reads, by name. */
  readonly reads: readonly string[];
  /** The outputs of the whole graph that it gives. */
  readonly gives: readonly string[];
}

/** Tensors that are there only while a part runs. */
export interface PartHooks {
  /**
   * Whether `enter` is called while the part before runs, and the next part begins before `leave` has ended, though not the one
   * behind it. Calls come in one order
   * either way, and in the same one from `accompany`.
   */
  readonly overlaps: boolean;
  /**
   * Tensors for a part by the whole graph's names of inputs, weights and outputs, beside those that the run was given, or in their
   * place.
   */
  enter(part: StepPart): Promise<Readonly<Record<string, Tensor>>>;
  /** Its outputs are there, and nothing reads its tensors any more. The run's end waits for it. */
  leave(part: StepPart): Promise<void>;
}

/** What a part needs, resolved once. */
interface PlannedPart {
  readonly part: GraphPart;
  readonly session: Session;
  readonly step: StepPart;
  /** Values that no later part reads. */
  readonly dropped: readonly number[];
}

const noTensors = {};

/** A cut graph as one session: it runs the parts one after the other, and keeps what later ones read. */
export class LayeredSession implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #sessions: readonly Session[];
  readonly #parts: readonly PlannedPart[];
  readonly #weights: Readonly<Record<string, Tensor>>;
  readonly #hooks: PartHooks | undefined;
  readonly #constants: ReadonlyMap<PartSource, Tensor>;
  /** Names of the whole graph's outputs, by the id of the value. */
  readonly #outputs: ReadonlyMap<number, string>;

  /**
   * @param sessions of the cut's graphs, which this session disposes of
   * @param weights by name; those that are missing the hooks bring
   */
  constructor(
    cut: CutGraph,
    sessions: readonly Session[],
    weights: Readonly<Record<string, Tensor>>,
    hooks?: PartHooks,
  ) {
    const { parts, outputs } = cut;
    this.#sessions = sessions;
    this.#weights = weights;
    this.#hooks = hooks;
    this.#outputs = new Map([...outputs].map(([name, id]) => [id, name]));
    this.#parts = planParts(cut, sessions);
    this.outputNames = [...outputs.keys()];
    const sources = parts.flatMap(({ inputs }) => [...inputs.values()]);
    const inputs = sources.flatMap((source) => (source.kind === "input" ? [source.name] : []));
    this.inputNames = [...new Set(inputs)];
    this.#constants = new Map(
      sources.flatMap((source) => {
        if (source.kind !== "constant") return [];
        const { dtype, shape } = source.value;
        return [[source, Tensor.fromArray(dtype, shape as readonly number[], source.data)]];
      }),
    );
  }

  /** See {@link Session.run}. Where the hooks bring a tensor, nobody else has to. */
  async run(
    inputs: Readonly<Record<string, Tensor>>,
    outputs: Readonly<Record<string, Tensor>> = {},
    options: RunOptions = {},
  ): Promise<Record<string, Tensor>> {
    const made = new Map<number, Tensor>();
    const result: Record<string, Tensor> = {};
    const turns = new Turns(this.#parts, this.#hooks);
    try {
      for (const { part, session, step, dropped } of this.#parts) {
        const brought = await turns.enter(step);
        const find = (source: PartSource): Tensor | undefined => {
          switch (source.kind) {
            case "input":
              return brought[source.name] ?? inputs[source.name];
            case "weight":
              return brought[source.name] ?? this.#weights[source.name];
            case "constant":
              return this.#constants.get(source);
            case "made":
              return made.get(source.id);
          }
        };
        const feeds = pick(part.inputs, find);
        const given = pick(part.outputs, (id) => {
          const name = this.#outputs.get(id);
          return name === undefined ? undefined : (brought[name] ?? outputs[name]);
        });
        const values = await session.run(feeds, given, options);
        for (const [name, id] of part.outputs) {
          const value = values[name];
          if (!value) continue;
          const output = this.#outputs.get(id);
          if (output !== undefined) result[output] = value;
          made.set(id, value);
        }
        for (const id of dropped) {
          made.get(id)?.dispose();
          made.delete(id);
        }
        await turns.leave(step);
      }
      await turns.end();
      return result;
    } catch (error) {
      await turns.settle();
      for (const [id, tensor] of made) if (!this.#outputs.has(id)) tensor.dispose();
      throw error;
    }
  }

  /** Calls the hooks as a run does, and computes nothing: for whoever has nothing to compute while others run. */
  async accompany(): Promise<void> {
    const turns = new Turns(this.#parts, this.#hooks);
    try {
      for (const { step } of this.#parts) {
        await turns.enter(step);
        await turns.leave(step);
      }
      await turns.end();
    } catch (error) {
      await turns.settle();
      throw error;
    }
  }

  dispose(): void {
    for (const session of this.#sessions) session.dispose();
    for (const tensor of this.#constants.values()) tensor.dispose();
  }
}

/** The calls of the hooks of one run, in their order. */
class Turns {
  readonly #parts: readonly PlannedPart[];
  readonly #hooks: PartHooks | undefined;
  readonly #left: Promise<void>[] = [];
  #next: Promise<Readonly<Record<string, Tensor>>> | undefined;

  constructor(parts: readonly PlannedPart[], hooks: PartHooks | undefined) {
    this.#parts = parts;
    this.#hooks = hooks;
  }

  /** What is brought for a part, and, if the hooks overlap, the call for the one behind it. */
  async enter(step: StepPart): Promise<Readonly<Record<string, Tensor>>> {
    if (!this.#hooks) return noTensors;
    const brought = await (this.#next ?? this.#hooks.enter(step));
    const next = this.#parts[step.index + 1]?.step;
    this.#next = next && this.#hooks.overlaps ? this.#hooks.enter(next) : undefined;
    // It is waited for one part later, or never if this one fails.
    this.#next?.catch(() => undefined);
    return brought;
  }

  async leave(step: StepPart): Promise<void> {
    if (!this.#hooks) return;
    const leaving = this.#hooks.leave(step);
    if (!this.#hooks.overlaps) return leaving;
    leaving.catch(() => undefined);
    this.#left.push(leaving);
    // One part behind at most: what waits holds memory.
    await this.#left.at(-2);
  }

  async end(): Promise<void> {
    await Promise.all(this.#left);
  }

  /** Waits for all calls, whatever becomes of them. */
  async settle(): Promise<void> {
    await Promise.allSettled([...this.#left, this.#next]);
  }
}

/** The entries for which `find` has a tensor. */
const pick = <Key>(
  names: ReadonlyMap<string, Key>,
  find: (key: Key) => Tensor | undefined,
): Record<string, Tensor> => {
  const found: Record<string, Tensor> = {};
  for (const [name, key] of names) {
    const tensor = find(key);
    if (tensor) found[name] = tensor;
  }
  return found;
};

const planParts = (
  { parts, outputs }: CutGraph,
  sessions: readonly Session[],
): readonly PlannedPart[] => {
  const names = new Map([...outputs].map(([name, id]) => [id, name]));
  const lastRead = new Map<number, number>();
  parts.forEach(({ inputs, outputs: made }, at) => {
    for (const id of made.values()) lastRead.set(id, at);
    for (const source of inputs.values()) if (source.kind === "made") lastRead.set(source.id, at);
  });
  const dropped = parts.map((): number[] => []);
  for (const [id, at] of lastRead) if (!names.has(id)) dropped[at]?.push(id);
  return parts.map((part, index) => ({
    part,
    session: sessions[part.graph] as Session,
    step: {
      index,
      name: part.name,
      reads: [...part.inputs.values()].flatMap((source) =>
        source.kind === "input" || source.kind === "weight" ? [source.name] : [],
      ),
      gives: [...part.outputs.values()].flatMap((id) => names.get(id) ?? []),
    },
    dropped: dropped[index] ?? [],
  }));
};
