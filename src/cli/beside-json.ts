import type { ProgressUi } from "../report/progress.js";

/** The progress of a command whose standard output is JSON alone. */
export const besideJson = (ui: ProgressUi, note: (text: string) => void): ProgressUi => ({
  training: (...given) => ui.training(...given),
  decoding: () => ({ advance: () => undefined, done: () => undefined }),
  line: note,
  warn: (text) => {
    ui.warn(text);
  },
});
