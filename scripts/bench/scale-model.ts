/**
 * What a step of training costs in memory, messages and arithmetic, by formulas alone.
 *
 * Bytes as in this program: frozen weights in 16 bits, trained values, gradients and AdamW's two moments in float32.
 */

/** A Llama-type model. */
export interface ModelShape {
  readonly hidden: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headSize: number;
  readonly intermediate: number;
  readonly vocab: number;
  /** Whether the output head is the table of embeddings. */
  readonly isTied: boolean;
}

/** Source: config.json of meta-llama/Meta-Llama-3-8B. */
export const llama3: ModelShape = {
  ...{ hidden: 4096, layers: 32, heads: 32, kvHeads: 8, headSize: 128 },
  ...{ intermediate: 14336, vocab: 128256, isTied: false },
};

/** Source: config.json of HuggingFaceTB/SmolLM2-135M. */
export const smolLm2: ModelShape = {
  ...{ hidden: 576, layers: 30, heads: 9, kvHeads: 3, headSize: 64 },
  ...{ intermediate: 1536, vocab: 49152, isTied: true },
};

/** The matrices of a layer, by their names in Llama. */
export type MatrixName =
  "q_proj" | "k_proj" | "v_proj" | "o_proj" | "gate_proj" | "up_proj" | "down_proj";

/** Shapes [out, in] of a layer's matrices. */
export const matricesOf = ({
  hidden,
  heads,
  kvHeads,
  headSize,
  intermediate,
}: ModelShape): Readonly<Record<MatrixName, readonly [out: number, inner: number]>> => ({
  q_proj: [heads * headSize, hidden],
  k_proj: [kvHeads * headSize, hidden],
  v_proj: [kvHeads * headSize, hidden],
  o_proj: [hidden, heads * headSize],
  gate_proj: [intermediate, hidden],
  up_proj: [intermediate, hidden],
  down_proj: [hidden, intermediate],
});

/** How a model is trained: all of it, or factors of rank r beside some matrices of each layer. */
export type Method =
  | { readonly kind: "fft" }
  | {
      readonly kind: "hira" | "lora";
      readonly rank: number;
      readonly targets: readonly MatrixName[];
    };

/** The matrices that the HiRA paper adapts, at its rank. */
export const hiraOfPaper: Method = {
  kind: "hira",
  rank: 32,
  targets: ["q_proj", "k_proj", "v_proj", "up_proj", "down_proj"],
};

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

/** Elements of a layer's matrices and of its two norms. */
export const layerCount = (shape: ModelShape): number =>
  sum(Object.values(matricesOf(shape)).map(([out, inner]) => out * inner)) + 2 * shape.hidden;

/** Elements of the table of embeddings, and of an output head. */
export const tableCount = ({ vocab, hidden }: ModelShape): number => vocab * hidden;

/** Elements of the model. */
export const modelCount = (shape: ModelShape): number =>
  shape.layers * layerCount(shape) + (shape.isTied ? 1 : 2) * tableCount(shape) + shape.hidden;

/** Elements of the matrices that a method has factors beside, of all layers. */
export const adaptedCount = (shape: ModelShape, method: Method): number => {
  if (method.kind === "fft") return 0;
  const matrices = matricesOf(shape);
  return shape.layers * sum(method.targets.map((name) => matrices[name][0] * matrices[name][1]));
};

/** Elements that are trained: for factors r * (out + in) a matrix. */
export const trainedCount = (shape: ModelShape, method: Method): number => {
  if (method.kind === "fft") return modelCount(shape);
  const matrices = matricesOf(shape);
  return (
    shape.layers *
    method.rank *
    sum(method.targets.map((name) => matrices[name][0] + matrices[name][1]))
  );
};

/** A stage of ZeRO. */
export type Stage = 0 | 1 | 2 | 3;

/** Bytes of a rank. */
export interface RankBytes {
  readonly weights: number;
  readonly gradients: number;
  readonly moments: number;
  /** Stage 3: weights that are gathered for the layer at work and the next one. */
  readonly gathered: number;
}

/** What a rank of `ranks` holds: stage 1 shares out moments, 2 gradients too, 3 weights too. */
export const rankBytes = (
  shape: ModelShape,
  method: Method,
  { stage, ranks }: { readonly stage: Stage; readonly ranks: number },
): RankBytes => {
  const trained = trainedCount(shape, method);
  const width = method.kind === "fft" ? 4 : 2;
  const frozen = method.kind === "fft" ? 0 : 2 * modelCount(shape);
  const share = (from: Stage): number => (stage >= from ? 1 / ranks : 1);
  // The head stands beside the last layer, a layer beside the next one.
  const pieces = layerCount(shape) + Math.max(layerCount(shape), tableCount(shape));
  return {
    weights: (frozen + 4 * trained) * share(3),
    gradients: 4 * trained * share(2),
    moments: 8 * trained * share(1),
    gathered: stage === 3 && ranks > 1 ? width * pieces : 0,
  };
};

/**
 * Activations of a micro-batch in 16 bits: a layer keeps, for each token, its two inputs' hidden states, q, the attention's output (4 *
 * hidden), k and v, and gate and up; norms, products and probabilities are made again. With checkpoints a layer keeps
 * its input, and one layer at a time all of that. Logits of 256 rows and their gradient in float32.
 */
export const activationBytes = (
  { hidden, layers, kvHeads, headSize, intermediate, vocab }: ModelShape,
  { tokens, checkpoints }: { readonly tokens: number; readonly checkpoints: boolean },
): number => {
  const ofLayer = 4 * hidden + 2 * kvHeads * headSize + 2 * intermediate;
  const kept = checkpoints ? layers * hidden + ofLayer : layers * ofLayer;
  return 2 * tokens * kept + 2 * 4 * 256 * vocab;
};

/** Bytes that a collective sends from each rank, of an array of `bytes`, in a ring. */
export const ringBytes = {
  allReduce: (bytes: number, ranks: number): number => (2 * (ranks - 1) * bytes) / ranks,
  reduceScatter: (bytes: number, ranks: number): number => ((ranks - 1) * bytes) / ranks,
  allGather: (bytes: number, ranks: number): number => ((ranks - 1) * bytes) / ranks,
} as const;

/** What goes over the links in an update: the sizes of arrays, before any ring. */
export interface UpdateTraffic {
  /** All-reduced. */
  readonly reduced: number;
  /** Reduce-scattered. */
  readonly scattered: number;
  /** All-gathered. */
  readonly gathered: number;
}

/**
 * Stage 0 all-reduces the gradients. Stage 1 reduce-scatters them and gathers the new values. Stage 2 does so too, its gradients after each
 * micro-batch. Stage 3 gathers all weights in each micro-batch's forward and backward pass, and scatters its gradients.
 */
export const trafficOf = (
  shape: ModelShape,
  method: Method,
  { stage, microBatches }: { readonly stage: Stage; readonly microBatches: number },
): UpdateTraffic => {
  const gradients = 4 * trainedCount(shape, method);
  const { weights } = rankBytes(shape, method, { stage: 0, ranks: 1 });
  if (stage === 0) return { reduced: gradients, scattered: 0, gathered: 0 };
  const times = stage === 1 ? 1 : microBatches;
  return {
    reduced: 0,
    scattered: times * gradients,
    gathered: stage === 3 ? 2 * microBatches * weights : gradients,
  };
};

/** Bytes that each rank sends in an update. */
export const sentBytes = ({ reduced, scattered, gathered }: UpdateTraffic, ranks: number): number =>
  ringBytes.allReduce(reduced, ranks) +
  ringBytes.reduceScatter(scattered, ranks) +
  ringBytes.allGather(gathered, ranks);

/** Floating-point operations, a multiply and an add counting two. */
export interface StepFlops {
  /** Forward pass and gradients of activations, which every method needs. */
  readonly common: number;
  /** Gradients of weights: dW = dy^T x, a full product for each matrix that is trained or that HiRA adapts. */
  readonly weightGradients: number;
  /** Making W = W0 * (1 + B A) again, and the gradients of B and A from dW: 8 r + 6 for a weight and micro-batch, however many tokens. */
  readonly factors: number;
  /** The forward pass once more. */
  readonly recomputed: number;
}

/** Of one micro-batch of `tokens` in rows of `seq`. */
export const stepFlops = (
  shape: ModelShape,
  method: Method,
  {
    tokens,
    seq,
    checkpoints,
  }: {
    readonly tokens: number;
    readonly seq: number;
    readonly checkpoints: boolean;
  },
): StepFlops => {
  const { layers, hidden, heads, headSize } = shape;
  const matrices = layers * (layerCount(shape) - 2 * hidden) + tableCount(shape);
  // Scores and their sums, of which a causal mask leaves half.
  const attention = 2 * layers * seq * heads * headSize;
  const forward = tokens * (2 * matrices + attention);
  const adapted = adaptedCount(shape, method);
  const trained = trainedCount(shape, method);
  const ofWeights = { fft: 2 * matrices, hira: 2 * adapted, lora: 4 * trained }[method.kind];
  // W is made in the forward pass, and once more in the backward pass.
  const rank = method.kind === "fft" ? 0 : method.rank;
  const factors = method.kind === "hira" ? adapted * (2 * (2 * rank + 2) + 4 * rank + 2) : 0;
  return {
    common: 2 * forward + tokens * attention + (method.kind === "lora" ? 2 * tokens * trained : 0),
    weightGradients: tokens * ofWeights,
    factors,
    recomputed: checkpoints ? forward : 0,
  };
};

/** All of them. */
export const totalFlops = (flops: StepFlops): number =>
  flops.common + flops.weightGradients + flops.factors + flops.recomputed;

/** A set of machines. Rates are bytes a second in one direction. */
export interface Machines {
  readonly hosts: number;
  /** Processes of a host, one a card. */
  readonly cards: number;
  /** From card to card in a host, each. */
  readonly within: number;
  /** Out of a host, all of its cards together. */
  readonly between: number;
}

/** The ways in which arrays are combined. */
export type Route = "ring" | "hierarchical";

/**
 * Seconds of an update's messages, without latencies.
 *
 * One ring over all cards: each sends the ring's bytes, and as much leaves each host. Hierarchical: within each host
 * first, then among hosts, each carrying what a ring of hosts does, then within each host again; weights of stage 3 are gathered within a host from
 * copies there in the backward pass (ZeRO++'s hpZ).
 */
export const messageSeconds = (
  traffic: UpdateTraffic,
  { hosts, cards, within, between }: Machines,
  route: Route,
  stage: Stage,
): number => {
  if (hosts === 1) return sentBytes(traffic, cards) / within;
  const ranks = hosts * cards;
  if (route === "ring") {
    const sent = sentBytes(traffic, ranks);
    return Math.max(sent / within, sent / between);
  }
  const { reduced, scattered, gathered } = traffic;
  const crossing = { reduced, scattered, gathered: stage === 3 ? gathered / 2 : gathered };
  return sentBytes(traffic, cards) / within + sentBytes(crossing, hosts) / between;
};

/**
 * Seconds of an all-reduce through host memory, as it is built now: from each card to its host, MPI in pieces of 1 MiB one after the
 * other, and back; nothing of it beside the computation.
 *
 * Within a host each byte that is sent is read twice and written once in memory that all its processes share.
 */
export const stagedSeconds = (
  bytes: number,
  { hosts, cards, between }: Machines,
  {
    toHost,
    hostMemory,
    latency,
  }: {
    /** Between a card and its host; undefined: the CPU computes, nothing is moved. */
    readonly toHost: number | undefined;
    readonly hostMemory: number;
    /** Seconds a message. */
    readonly latency: number;
  },
): { readonly moving: number; readonly reducing: number; readonly waiting: number } => {
  const ranks = hosts * cards;
  const sent = ringBytes.allReduce(bytes, ranks);
  const inMemory = (3 * cards * sent) / hostMemory;
  return {
    moving: toHost === undefined ? 0 : (2 * bytes) / toHost,
    reducing: hosts === 1 ? inMemory : Math.max(inMemory, sent / between),
    waiting: Math.ceil(bytes / 2 ** 20) * 2 * Math.log2(ranks) * latency,
  };
};
