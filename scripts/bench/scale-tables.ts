import {
  activationBytes,
  hiraOfPaper,
  llama3,
  messageSeconds,
  modelCount,
  rankBytes,
  sentBytes,
  stagedSeconds,
  stepFlops,
  totalFlops,
  trafficOf,
  trainedCount,
  type Machines,
  type Method,
  type Route,
  type Stage,
} from "./scale-model.js";

/** Public rates, bytes a second in one direction. docs/scale.md names their sources. */
export const rates = {
  nvlink: 450e9,
  pcie5: 63e9,
  ndr: 50e9,
  ethernet100: 12.5e9,
  hostMemory: 307e9,
} as const;

/** What is assumed; docs/scale.md says why. */
export const assumed = {
  /** bf16 products of an H100 SXM without sparsity, a second. */
  peakFlops: 989.4e12,
  /** The share of them that a step reaches. */
  mfu: 0.4,
  /** A process of sixteen CPU cores, a second. */
  cpuFlops: 1e12,
  /** Tokens of a micro-batch of a process, in rows of `seq`. */
  tokens: 2048,
  seq: 128,
  /** Seconds a message of MPI over InfiniBand, and over Ethernet. */
  latency: { ndr: 3e-6, ethernet100: 20e-6 },
} as const;

const methods: readonly (readonly [name: string, method: Method])[] = [
  ["HiRA r 32", hiraOfPaper],
  ["full", { kind: "fft" }],
];
const stages = [0, 1, 2, 3] as const satisfies readonly Stage[];

const markdown = (
  heading: readonly string[],
  rows: readonly (readonly string[])[],
): readonly string[] => [
  `| ${heading.join(" | ")} |`,
  `| ${heading.map((_, i) => (i < 2 ? "---" : "---:")).join(" | ")} |`,
  ...rows.map((row) => `| ${row.join(" | ")} |`),
];

const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(bytes < 9.95e9 ? 2 : 1);
const seconds = (time: number): string =>
  time >= 10
    ? `${time.toFixed(0)} s`
    : time >= 1
      ? `${time.toFixed(1)} s`
      : `${(1000 * time).toFixed(time < 0.01 ? 2 : 0)} ms`;

/** Bytes of a rank by stage. */
export const memoryTable = (): readonly string[] => {
  const { tokens } = assumed;
  return markdown(
    [
      "",
      "stage",
      ...[8, 32].flatMap((n) =>
        ["weights", "gradients", "moments", "gathered", "sum"].map(
          (what) => `${what}, ${String(n)}`,
        ),
      ),
    ],
    methods.flatMap(([name, method]) =>
      stages.map((stage) => [
        name,
        String(stage),
        ...[8, 32].flatMap((ranks) => {
          const { weights, gradients, moments, gathered } = rankBytes(llama3, method, {
            stage,
            ranks,
          });
          const parts = [weights, gradients, moments, gathered];
          return [...parts, parts.reduce((a, b) => a + b, 0)].map(gigabytes);
        }),
      ]),
    ),
  ).concat([
    "",
    `Activations of ${String(tokens)} tokens beside them: ${gigabytes(activationBytes(llama3, { tokens, checkpoints: false }))} GB, with \`--enable_grad_ckpt\` ${gigabytes(activationBytes(llama3, { tokens, checkpoints: true }))} GB, at every stage.`,
  ]);
};

/** Bytes that a rank sends in an update. */
export const trafficTable = (): readonly string[] =>
  markdown(
    ["", "stage", "8 cards", "4 x 8 cards", "8 cards, 8 micro-batches", "4 x 8, 8 micro-batches"],
    methods.flatMap(([name, method]) =>
      stages.map((stage) => [
        name,
        String(stage),
        ...[1, 8].flatMap((microBatches) =>
          [8, 32].map((ranks) =>
            gigabytes(sentBytes(trafficOf(llama3, method, { stage, microBatches }), ranks)),
          ),
        ),
      ]),
    ),
  );

const flopsOf = (method: Method) =>
  stepFlops(llama3, method, { tokens: assumed.tokens, seq: assumed.seq, checkpoints: false });

const cardSeconds = (method: Method): number =>
  totalFlops(flopsOf(method)) / (assumed.mfu * assumed.peakFlops);

/** Arithmetic of a micro-batch. */
export const computeTable = (): readonly string[] => {
  const lora: Method = { ...hiraOfPaper, kind: "lora" } as Method;
  const all: readonly (readonly [string, Method])[] = [...methods, ["LoRA r 32", lora]];
  const tera = (flops: number): string => (flops / 1e12).toFixed(1);
  return markdown(
    ["", "trained", "forward and dx, TFLOP", "dW, TFLOP", "factors, TFLOP", "sum, TFLOP", "time"],
    all.map(([name, method]) => {
      const flops = flopsOf(method);
      return [
        name,
        `${(trainedCount(llama3, method) / 1e6).toFixed(1)} M of ${(modelCount(llama3) / 1e6).toFixed(0)} M`,
        ...[flops.common, flops.weightGradients, flops.factors, totalFlops(flops)].map(tera),
        seconds(cardSeconds(method)),
      ];
    }),
  );
};

const sets: readonly (readonly [name: string, machines: Machines])[] = [
  ["8 cards, NVLink", { hosts: 1, cards: 8, within: rates.nvlink, between: Infinity }],
  ["8 cards, PCIe 5", { hosts: 1, cards: 8, within: rates.pcie5, between: Infinity }],
  [
    "4 x 8, NVLink, NDR a card",
    { hosts: 4, cards: 8, within: rates.nvlink, between: 8 * rates.ndr },
  ],
  ["4 x 8, NVLink, one NDR", { hosts: 4, cards: 8, within: rates.nvlink, between: rates.ndr }],
  [
    "4 x 8, NVLink, 100 GbE",
    { hosts: 4, cards: 8, within: rates.nvlink, between: rates.ethernet100 },
  ],
];

const share = (messages: number, compute: number): string =>
  `${((100 * messages) / (messages + compute)).toFixed(0)} %`;

/** Seconds of messages beside the computation, over direct links. */
export const linkTable = (): readonly string[] =>
  markdown(
    ["", "machines", "compute", ...stages.flatMap((stage) => [`stage ${String(stage)}`, "share"])],
    methods.flatMap(([name, method]) =>
      sets.flatMap(([where, machines]) =>
        (machines.hosts === 1 ? ["ring" as const] : (["ring", "hierarchical"] as const)).map(
          (route: Route) => [
            name,
            route === "ring" ? where : `the same, hierarchical`,
            seconds(cardSeconds(method)),
            ...stages.flatMap((stage) => {
              const traffic = trafficOf(llama3, method, { stage, microBatches: 1 });
              const time = messageSeconds(traffic, machines, route, stage);
              return [seconds(time), share(time, cardSeconds(method))];
            }),
          ],
        ),
      ),
    ),
  );

/** The all-reduce as it is built now, through host memory. */
export const presentTable = (): readonly string[] => {
  const cpuSeconds = (method: Method): number => totalFlops(flopsOf(method)) / assumed.cpuFlops;
  const ethernet = assumed.latency.ethernet100;
  const present: readonly (readonly [string, Machines, boolean, number])[] = [
    ["8 cards", { hosts: 1, cards: 8, within: 0, between: Infinity }, true, assumed.latency.ndr],
    [
      "4 x 8 cards, NDR a card",
      { hosts: 4, cards: 8, within: 0, between: 8 * rates.ndr },
      true,
      assumed.latency.ndr,
    ],
    [
      "4 x 8 cards, 100 GbE",
      { hosts: 4, cards: 8, within: 0, between: rates.ethernet100 },
      true,
      ethernet,
    ],
    [
      "4 x 8 CPU processes, 100 GbE",
      { hosts: 4, cards: 8, within: 0, between: rates.ethernet100 },
      false,
      ethernet,
    ],
  ];
  return markdown(
    ["", "machines", "compute", "card to host and back", "reduce", "latency", "share of messages"],
    methods.flatMap(([name, method]) =>
      present.map(([where, machines, isCard, latency]) => {
        const compute = isCard ? cardSeconds(method) : cpuSeconds(method);
        const { moving, reducing, waiting } = stagedSeconds(
          4 * trainedCount(llama3, method),
          machines,
          { toHost: isCard ? rates.pcie5 : undefined, hostMemory: rates.hostMemory, latency },
        );
        return [
          name,
          where,
          seconds(compute),
          ...[moving, reducing, waiting].map(seconds),
          share(moving + reducing + waiting, compute),
        ];
      }),
    ),
  );
};

/** All tables, by the names that docs/scale.md has for them. */
export const scaleTables = (): Readonly<Record<string, readonly string[]>> => ({
  memory: memoryTable(),
  traffic: trafficTable(),
  compute: computeTable(),
  links: linkTable(),
  present: presentTable(),
});
