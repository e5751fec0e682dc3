import { UserError } from "../../core/errors.js";

/** @throws {UserError} where rows are longer than a table of learned positions */
export const requirePositions = (maxPositions: number, maxPositionEmbeddings: number): void => {
  if (maxPositions > maxPositionEmbeddings)
    throw new UserError(
      `Cannot compute rows of up to ${String(maxPositions)} tokens: found a model with ${String(maxPositionEmbeddings)} learned positions (max_position_embeddings), expected as many`,
      "Give shorter rows, fewer --max_new_tokens or --virtual_tokens, or another model",
    );
};
