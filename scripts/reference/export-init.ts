/**
 * Writes the start values of a `hira train` run, `<module>.A` and `<module>.B`, for scripts/reference/train_peer.py.
 *
 * usage: npx tsx scripts/reference/export-init.ts OUT.safetensors FLAGS_OF_HIRA_TRAIN...
 */
import { writeSafetensors } from "../../src/models/weights/safetensors.js";
import { withTrainingRun } from "./training-run.js";

await withTrainingRun(async (out, { store, ui }) => {
  const tensors = [...store.values].map(([name, { dtype, shape, data }]) => ({
    name,
    dtype,
    shape,
    data,
  }));
  await writeSafetensors(out, tensors);
  ui.line(`${out}: ${String(tensors.length)} tensors`);
});
