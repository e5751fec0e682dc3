import { UserError } from "../core/errors.js";
import { requireDecoding } from "../decode/device-check.js";
import type { PeftType } from "../peft/registry.js";
import type { ProgressUi } from "../report/progress.js";
import { withPlan, type ComputeChoice } from "../runtime/compute-plan.js";
import { requireAgreement } from "../train/device-check.js";
import { loadBase, type BaseStorage } from "../train/load-base.js";
import { checkModel, type ModelCheck } from "./check-model.js";
import type { Complaint } from "./doctor.js";

/** A model on which a device is compared with the CPU. */
export interface CheckedModelOptions extends ComputeChoice, BaseStorage {
  readonly modelName: string;
  readonly peftType: PeftType;
}

/** What the comparison has found. */
export interface CheckedModel extends ModelCheck {
  readonly device: string;
  readonly precision: string;
  readonly peftType: PeftType;
  readonly model: string;
  /** Undefined where the device has computed what the CPU has. */
  readonly fault: Complaint | undefined;
}

/**
 * `hira doctor --model`: what checks before a training or an answer would find with this model, see checkModel.
 *
 * @throws {UserError} if the device cannot start, or the model cannot be loaded
 */
export const checkDeviceOnModel = (
  options: CheckedModelOptions,
  ui: ProgressUi,
): Promise<CheckedModel> =>
  withPlan(options, async (plan) => {
    const { modelName, peftType } = options;
    const asked = { ...options, tokenizer: "optional", encoder: "allowed" } as const;
    const base = await loadBase(modelName, asked, ui);
    const found = await checkModel(base, peftType, plan, ui);
    const { description } = plan.device;
    return {
      ...found,
      ...{ device: description, precision: plan.precision, peftType, model: base.folder.path },
      fault: faultOf(() => {
        requireAgreement(found.training, plan);
        if (found.decoding) requireDecoding(found.decoding, plan);
      }),
    };
  });

const faultOf = (check: () => void): Complaint | undefined => {
  try {
    check();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { message: error.message, hint: error.hint };
  }
  return undefined;
};
