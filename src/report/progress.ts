/** One update, as it is shown while training. */
export interface StepProgress {
  /** Updates done, from 1. */
  readonly step: number;
  readonly loss: number;
  readonly learningRate: number;
  /** Before clipping. */
  readonly gradNorm?: number;
  /** Real tokens a second, padding not counted. */
  readonly tokensPerSecond: number;
  readonly memoryBytes: number;
}

/** One evaluation on the validation rows. */
export interface EvaluationProgress {
  readonly step: number;
  readonly loss: number;
  /** Whether no earlier evaluation had a lower loss. */
  readonly best: boolean;
}

/** What a training's progress shows, and what its time left counts. */
export interface TrainingProgressOptions {
  /** Updates done already, when a run is resumed. */
  readonly start?: number;
  /** Where standard output is no terminal: updates between two lines. */
  readonly logSteps?: number;
  /** False where somebody else prints what happens. */
  readonly printsLines?: boolean;
  /** What time left has to count beside the updates. */
  readonly validation?: {
    /** Validations at update `step` and after it. */
    readonly from: (step: number) => number;
    /** How many updates one is reckoned to take, until the first one has been timed. */
    readonly updatesEach: number;
  };
}

/** Shows a training run. `done` is called once, also when the run is cut short. */
export interface TrainingProgress {
  step(info: StepProgress): void;
  /** `rows` of `total` validation rows are done. */
  validating(rows: number, total: number): void;
  evaluation(info: EvaluationProgress): void;
  done(): void;
}

/** Shows work of which `total` parts are known. `done` is called once, also when the work is cut short. */
export interface WorkProgress {
  /** `parts` more are done; `detail` replaces what stands behind the bar. */
  advance(parts: number, detail?: string): void;
  done(): void;
}

/** Where library functions show what they do; they never write to a terminal themselves. */
export interface ProgressUi {
  /** @param total updates of the whole run */
  training(total: number, options?: TrainingProgressOptions): TrainingProgress;
  /** @param label what is done, for example "boolq" @param unit what is counted, for example "rows" */
  decoding(total: number, label: string, unit?: string): WorkProgress;
  /** A line of the program's output. */
  line(text: string): void;
  /** A line that asks for attention. */
  warn(text: string): void;
}
