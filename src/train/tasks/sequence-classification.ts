import type { ClassifierHead } from "../../models/model.js";
import type { Task, TokenBatch } from "./task.js";

/**
 * One token of a row predicts its class: the first one, or the last one that is no padding.
 *
 * As transformers looks for it, the last one is the last that is another than the pad token, whatever the mask says; a row of nothing else
 * has its first.
 * Source: GenericForSequenceClassification of transformers 5.24.
 * @param padId the token that rows are padded with
 */
export const sequenceClassification = ({
  pools,
  padId,
}: Pick<ClassifierHead, "pools"> & { readonly padId: number }): Task => ({
  name: "sequence-classification",
  labelled(batch) {
    const { batch: count, seq, classes } = batch;
    if (!classes) throw new RangeError("Cannot classify a batch: its rows have no classes");
    const rows = BigInt64Array.from({ length: count }, (_, row) =>
      BigInt(row * seq + (pools === "first" ? 0 : lastToken(batch, row, padId))),
    );
    return { rows, ids: BigInt64Array.from(classes, BigInt) };
  },
});

const lastToken = ({ seq, inputIds }: TokenBatch, row: number, padId: number): number => {
  let last = seq - 1;
  while (last > 0 && inputIds[row * seq + last] === BigInt(padId)) last--;
  return last;
};
