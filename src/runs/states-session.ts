import { Graph } from "../graph/graph.js";
import { foldConstants } from "../graph/passes/fold-constants.js";
import { prune } from "../graph/passes/prune.js";
import { shareSubexpressions } from "../graph/passes/share-subexpressions.js";
import { groupedAttention, MASKED, paddingMask, splitHeads } from "../models/blocks/attention.js";
import type { Model } from "../models/model.js";
import { weightsOn } from "../models/weights/device-weights.js";
import {
  accessFrozenWeights,
  initializersOf,
  type FrozenWeights,
} from "../models/weights/frozen-weights.js";
import { plainHooks } from "../peft/adapter.js";
import { cpuPlan, openGraph, type ComputePlan } from "../runtime/compute-plan.js";
import type { Session } from "../runtime/session.js";
import { Tensor } from "../runtime/tensor.js";

/** The encoder whose hidden states are wanted, and after which layer. */
export interface StatesOptions {
  /** An encoder. */
  readonly model: Model;
  readonly weights: Pick<FrozenWeights, "tensor" | "typeOf">;
  /** After how many layers; 0 are the embeddings. */
  readonly layers: number;
  /** Of the longest row. */
  readonly maxPositions: number;
  readonly plan?: ComputePlan | undefined;
}

/** Inputs input_ids, positions int64 [batch, seq], key_bias float32 [batch, seq]; output states float32 [batch * seq, hidden]. */
const statesGraph = ({ model, weights, layers, maxPositions }: StatesOptions): Graph => {
  const g = new Graph();
  const inputIds = g.input("input_ids", "int64", ["batch", "seq"]);
  const positions = g.input("positions", "int64", ["batch", "seq"]);
  const keyBias = g.input("key_bias", "float32", ["batch", "seq"]);
  const mask = paddingMask(g, keyBias);
  const frozen = accessFrozenWeights(g, (name) => weights.typeOf(name));
  const states = model.trunk(
    g,
    { inputIds, positions, maxPositions, layers },
    {
      ...plainHooks(g, frozen),
      attend: ({ layer: _, q, k, v, ...scores }) => {
        const [keys, values] = [splitHeads(g, k, model), splitHeads(g, v, model)];
        return groupedAttention(g, { q, keys, values, mask }, model, scores);
      },
    },
  );
  g.output("states", states);
  return foldConstants(shareSubexpressions(prune(g)));
};

/** An encoder that gives the hidden states of texts; token types are 0. */
export class StatesSession {
  readonly #session: Session;
  readonly #width: number;

  private constructor(session: Session, width: number) {
    this.#session = session;
    this.#width = width;
  }

  /** @throws {UserError} if the model has fewer positions */
  static async create(options: StatesOptions): Promise<StatesSession> {
    const plan = options.plan ?? cpuPlan();
    const weights = weightsOn(plan.device, options.weights);
    const graph = statesGraph({ ...options, weights });
    const session = await openGraph(plan, graph, {
      initializers: initializersOf(graph, weights),
      disabledOptimizers: ["ConstantFolding"],
    });
    return new StatesSession(session, options.model.hiddenSize);
  }

  /** The states of each row's tokens, float32 [tokens x hidden], rows being padded on their right to the longest one. */
  async run(rows: readonly ArrayLike<number>[]): Promise<readonly Float32Array[]> {
    const [batch, seq] = [rows.length, Math.max(...rows.map(({ length }) => length))];
    const ids = new BigInt64Array(batch * seq);
    const positions = new BigInt64Array(batch * seq);
    const keyBias = new Float32Array(batch * seq).fill(MASKED);
    for (const [i, row] of rows.entries())
      for (let column = 0; column < row.length; column++) {
        const at = i * seq + column;
        ids[at] = BigInt(row[column] ?? 0);
        positions[at] = BigInt(column);
        keyBias[at] = 0;
      }
    const feeds = {
      input_ids: Tensor.fromArray("int64", [batch, seq], ids),
      positions: Tensor.fromArray("int64", [batch, seq], positions),
      key_bias: Tensor.fromArray("float32", [batch, seq], keyBias),
    };
    try {
      const { states } = await this.#session.run(feeds);
      const all = states?.data as Float32Array;
      const width = this.#width;
      const parts = rows.map(({ length }, i) =>
        all.slice(i * seq * width, (i * seq + length) * width),
      );
      states?.dispose();
      return parts;
    } finally {
      for (const tensor of Object.values(feeds)) tensor.dispose();
    }
  }

  dispose(): void {
    this.#session.dispose();
  }
}
