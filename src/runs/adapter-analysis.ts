import { writeFileAtomically } from "../core/atomic-file.js";
import { UserError } from "../core/errors.js";
import type { LiveAdapter } from "../decode/decode-graph.js";
import { openMergedLayers, type MergedLayer } from "../decode/merged-layers.js";
import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import type { FrozenWeights } from "../models/weights/frozen-weights.js";
import type { ProgressUi } from "../report/progress.js";
import {
  countEigenvaluesBelow,
  largestEigenvalue,
  tridiagonalize,
} from "./symmetric-eigenvalues.js";

/** A singular value counts towards the rank if it is larger than this share of the largest. */
export const rankTolerance = 1e-3;

/** The update W - W0 of one layer; under HiRA it is W0 * (B A), element by element. */
export interface ModuleAnalysis {
  /** The layer's path in the checkpoint. */
  readonly module: string;
  /** [out, in] */
  readonly shape: readonly [outFeatures: number, inFeatures: number];
  /** --compute_rank: how many singular values are larger than `rankTolerance` times the largest; 0 for no update. */
  readonly rank?: number;
  readonly largestSingularValue?: number;
  /** --compute_norm: the Frobenius norm of the update. */
  readonly updateNorm?: number;
  /** updateNorm / ||W0||; undefined where W0 is zero. */
  readonly relativeNorm?: number | undefined;
}

/** Figures of every adapted layer. */
export interface AdapterAnalysis {
  readonly method: string;
  readonly modules: readonly ModuleAnalysis[];
}

/** Which figures are computed: numerical ranks, norms, or both. */
export interface AdapterAnalysisOptions {
  readonly rank: boolean;
  readonly norm: boolean;
  readonly progress: Pick<ProgressUi, "decoding">;
}

/**
 * Numerical rank and size of what an adapter adds to each of its layers, computed in float64.
 *
 * The singular values of the update U are the square roots of the eigenvalues of U U^T or U^T U, whichever is smaller. Their
 * error is about 1e-8 of the largest, far below the share of 1e-3 that the rank is counted at.
 * @throws {UserError} under full fine-tuning and methods of virtual tokens, and if an update is not finite
 */
export const analyseAdapter = async (
  weights: Pick<FrozenWeights, "tensor">,
  { adapter, values }: LiveAdapter,
  { rank, norm, progress }: AdapterAnalysisOptions,
): Promise<AdapterAnalysis> => {
  const { method, targets } = adapter;
  if (method.kind !== "linear")
    throw new UserError(
      `Cannot compute rank and norm of what --peft_type=${method.name} has trained: found no target modules, expected an adapter that changes linear layers`,
      "Leave out --compute_rank and --compute_norm",
    );
  const modules: ModuleAnalysis[] = [];
  const layers = openMergedLayers(
    weights,
    { adapter, values },
    {
      method,
      // W - W0 in float32 would lose the digits of a small update.
      dtype: "float64",
      outputs: (g, layer) => {
        addUpdateOutputs(g, layer, { rank });
      },
    },
  );
  const bar = progress.decoding(targets.length, "adapter analysis", "layers");
  try {
    for (const module of targets) {
      const results = await layers.run(module);
      const elements = (name: string): Float64Array => results[name]?.data as Float64Array;
      const [updateNorm = NaN, weightNorm = NaN] = elements("norms");
      if (!Number.isFinite(updateNorm))
        throw new UserError(
          `Cannot compute rank and norm of ${module.path}: found an update that is not finite`,
          "Choose an earlier checkpoint with --load_order",
        );
      modules.push({
        module: module.path,
        shape: [module.outFeatures, module.inFeatures],
        ...(rank && rankOf(elements("gram"), Math.min(module.outFeatures, module.inFeatures))),
        ...(norm && {
          updateNorm,
          relativeNorm: weightNorm === 0 ? undefined : updateNorm / weightNorm,
        }),
      });
      for (const tensor of Object.values(results)) tensor.dispose();
      bar.advance(1, module.path);
    }
  } finally {
    bar.done();
    layers.dispose();
  }
  return { method: method.name, modules };
};

/** @param gram [n, n], which is overwritten */
const rankOf = (
  gram: Float64Array,
  n: number,
): Required<Pick<ModuleAnalysis, "rank" | "largestSingularValue">> => {
  const matrix = tridiagonalize(gram, n);
  const largest = Math.max(0, largestEigenvalue(matrix));
  return {
    rank: largest === 0 ? 0 : n - countEigenvaluesBelow(matrix, rankTolerance ** 2 * largest),
    largestSingularValue: Math.sqrt(largest),
  };
};

/** gram float64 [n, n] of the update, n being its smaller side, where `rank` asks for it; norms float64 [2]: of the update and of W0. */
const addUpdateOutputs = (
  g: Graph,
  { weight, merged }: MergedLayer,
  { rank }: { readonly rank: boolean },
): void => {
  const update = g.sub(merged, weight); // [out, in]
  const norm = (x: Value): Value =>
    g.reshape(g.sqrt(g.reduceSum(g.mul(x, x), { axes: [0, 1] })), [1]);
  g.output("norms", g.concat([norm(update), norm(weight)], 0));
  if (!rank) return;
  const [outFeatures, inFeatures] = weight.shape as [number, number];
  const side = outFeatures <= inFeatures ? { transB: true } : { transA: true };
  g.output("gram", g.matmul(update, update, side)); // [n, n]
};

/** Writes an analysis as JSON, with names in snake_case. @throws {UserError} if the folder is not writable */
export const writeAdapterAnalysis = (path: string, analysis: AdapterAnalysis): Promise<void> => {
  const { method, modules } = analysis;
  const json = {
    method,
    rank_tolerance: rankTolerance,
    modules: modules.map(
      ({ module, shape, rank, largestSingularValue, updateNorm, relativeNorm }) => ({
        module,
        shape,
        rank,
        largest_singular_value: largestSingularValue,
        update_norm: updateNorm,
        relative_norm: relativeNorm,
      }),
    ),
  };
  return writeFileAtomically(path, `${JSON.stringify(json, undefined, 2)}\n`);
};
