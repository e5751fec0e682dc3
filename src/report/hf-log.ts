import { pythonRepr, pythonRound } from "./python-format.js";

/** Every value a float, as all of the trainer's are. */
const pythonDict = (values: Readonly<Record<string, number>>): string =>
  `{${Object.entries(values)
    .map(([key, value]) => `'${key}': ${pythonRepr(value)}`)
    .join(", ")}}`;

/** Two digits, for the console alone. */
const epochOf = (epoch: number): number => pythonRound(epoch, 2);

const speed = (
  split: "eval" | "train",
  seconds: number,
  { samples, steps }: { readonly samples: number; readonly steps: number },
): Readonly<Record<string, number>> => ({
  [`${split}_runtime`]: pythonRound(seconds, 4),
  ...(seconds > 0 && {
    [`${split}_samples_per_second`]: pythonRound(samples / seconds, 3),
    [`${split}_steps_per_second`]: pythonRound(steps / seconds, 3),
  }),
});

/** The lines that transformers' trainer prints, as scripts grep them. */
export interface HfLog {
  /** The line after an update; undefined between two lines. */
  step(update: {
    readonly step: number;
    readonly loss: number;
    readonly gradNorm: number;
    readonly nextLearningRate: number;
    readonly epoch: number;
  }): string | undefined;
  evaluation(found: {
    /** By transformers' names: eval_loss, eval_accuracy, ... */
    readonly figures: Readonly<Record<string, number>>;
    readonly seconds: number;
    readonly rows: number;
    readonly batches: number;
    readonly epoch: number;
  }): string;
  end(run: {
    readonly seconds: number;
    readonly samples: number;
    readonly steps: number;
    readonly meanLoss: number;
    readonly epoch: number;
  }): string;
}

/**
 * Python dicts with the numbers rounded as there: `{'loss': 1.2345, 'grad_norm': 0.5, 'learning_rate': 1e-05, 'epoch': 0.01}`.
 *
 * loss is the mean since the line before; the norm is a float32, the rate the next update's.
 * Source: _maybe_log_save_evaluate, speed_metrics and ProgressCallback of transformers 4.41.1.
 * @param logSteps updates between two lines, at whose multiples they stand
 */
export const hfLog = (logSteps: number): HfLog => {
  let [sum, count] = [0, 0];
  return {
    step({ step, loss, gradNorm, nextLearningRate, epoch }) {
      sum += loss;
      count++;
      if (step % logSteps !== 0) return undefined;
      const mean = sum / count;
      [sum, count] = [0, 0];
      return pythonDict({
        loss: pythonRound(mean, 4),
        grad_norm: Math.fround(gradNorm),
        learning_rate: nextLearningRate,
        epoch: epochOf(epoch),
      });
    },
    evaluation: ({ figures, seconds, rows, batches, epoch }) =>
      pythonDict({
        ...figures,
        ...speed("eval", seconds, { samples: rows, steps: batches }),
        epoch: epochOf(epoch),
      }),
    end: ({ seconds, samples, steps, meanLoss, epoch }) =>
      pythonDict({
        ...speed("train", seconds, { samples, steps }),
        train_loss: meanLoss,
        epoch: epochOf(epoch),
      }),
  };
};
