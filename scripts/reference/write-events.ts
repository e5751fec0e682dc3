/**
 * Writes a run folder's TensorBoard events with known values, for check_tensorboard.py to read.
 *
 * Run: npx tsx scripts/reference/write-events.ts FOLDER
 */
import { openTensorBoard } from "../../src/report/tensorboard.js";

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("Give a folder to write into");

const startedAt = new Date();
const board = await openTensorBoard(folder, startedAt);
const timeOf = (step: number): Date => new Date(startedAt.getTime() + 250 * step);
await board.text("args", '{"lr": 0.001, "note": "é"}', 0, startedAt);
await board.text("model_config", '{"model_type": "llama"}', 0, startedAt);
for (let step = 1; step <= 20; step++) {
  const values = {
    loss: 1 / step,
    grad_norm: step / 8,
    learning_rate: 1e-3 * (1 - step / 20),
    epoch: step / 10,
  };
  await board.log(values, step, timeOf(step));
  if (step % 5 === 0) {
    const evaluation = {
      eval_loss: 2 / step,
      eval_runtime: 0.5,
      eval_samples_per_second: 240,
      eval_steps_per_second: 16,
    };
    await board.log(evaluation, step, timeOf(step));
  }
}
const totals = {
  train_runtime: 5,
  train_samples_per_second: 64,
  train_steps_per_second: 4,
  train_loss: 0.18,
};
await board.log(totals, 20, timeOf(20));
await board.close();
