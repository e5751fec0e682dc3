import type { Model } from "../models/model.js";
import type { VirtualTokenMethod } from "./method.js";

/** The width of a row: keys and values of all layers, or an embedding. */
export const rowWidth = (
  form: VirtualTokenMethod["form"],
  model: Pick<Model, "layers" | "kvHeads" | "headDim" | "embedding">,
): number =>
  form === "embeddings"
    ? model.embedding.inFeatures
    : model.layers * 2 * model.kvHeads * model.headDim;
