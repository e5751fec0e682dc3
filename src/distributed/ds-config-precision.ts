import type { JsonObject } from "../core/json-file.js";
import { isJsonObject } from "../core/json.js";
import type { Precision } from "../core/precision.js";
import { bf16Keys, fp16Keys } from "./ds-config-keys.js";
import type { NumberRange, Reading } from "./ds-config-reading.js";
import { defaultLossScaling, type LossScaling } from "./loss-scaling.js";

/** What the flags say of the precision. */
interface AskedPrecision {
  /** Undefined: not asked for, so that the file decides. */
  readonly precision: Precision | undefined;
  /** What this version can compute in. */
  readonly precisions: readonly Precision[];
}

/** Switches of the blocks that change what is computed, and are not built. */
const refusedSwitches = {
  fp16: ["fp16_master_weights_and_grads"],
  bf16: ["bf16_master_weights_and_grads", "bf16_optimizer_states"],
} as const;

const readSwitches = (file: JsonObject, reading: Reading): void => {
  const enabled = (name: "fp16" | "bf16"): JsonObject => {
    const block = file[name];
    return isJsonObject(block) && block["enabled"] === true ? block : {};
  };
  for (const name of ["fp16", "bf16"] as const)
    for (const key of refusedSwitches[name])
      if (reading.boolean(enabled(name), key, `${name}.${key}`) === true)
        reading.refuse(
          `${name}.${key}`,
          true,
          "false",
          "trained weights, their gradients and moments are float32",
        );
  if (reading.boolean(enabled("fp16"), "auto_cast", "fp16.auto_cast") === true)
    reading.lines.push("fp16.auto_cast has nothing to do here: inputs are token ids");
  const bf16 = enabled("bf16");
  if (reading.boolean(bf16, "check_grad_overflow", "bf16.check_grad_overflow") === true)
    reading.lines.push(
      "bf16.check_grad_overflow would skip an update; here a gradient that is not finite ends the run, naming its rows",
    );
  reading.boolean(bf16, "immediate_grad_update", "bf16.immediate_grad_update");
  reading.noteIdle("bf16.immediate_grad_update", bf16["immediate_grad_update"]);
};

/** The precision that the blocks fp16 and bf16 ask for; the run's own where they leave it open. */
export const readPrecision = (
  file: JsonObject,
  { precision, precisions }: AskedPrecision,
  reading: Reading,
): Precision => {
  const asked: Precision[] = [];
  const blocks = [
    ["fp16", fp16Keys],
    ["bf16", bf16Keys],
  ] as const;
  for (const [name, known] of blocks) {
    const block = reading.block(file, name, { known, path: name });
    if (block === undefined) continue;
    if (block["enabled"] === "auto") block["enabled"] = precision === name;
    const enabled = reading.boolean(block, "enabled", `${name}.enabled`);
    const contradicts =
      (enabled === true && precision !== undefined && precision !== name) ||
      (enabled === false && precision === name);
    if (contradicts)
      reading.faults.push(
        `${name}.enabled: found ${String(enabled)}, expected ${String(!enabled)} (--precision ${precision}) or "auto"`,
      );
    if (enabled === true) asked.push(name);
  }
  if (asked.length > 1)
    reading.faults.push("fp16 and bf16: found both enabled, expected one of them");
  const [chosen = precision ?? "fp32"] = asked;
  // Without the file's asking, --precision itself has been checked already.
  if (asked.length === 1 && !precisions.includes(chosen))
    reading.refuse(`${chosen}.enabled`, true, "false", `there is ${precisions.join(", ")} here`);
  readSwitches(file, reading);
  return chosen;
};

/** How the block fp16 scales the loss. */
export const readLossScaling = (file: JsonObject, reading: Reading): LossScaling => {
  const path = "fp16";
  const block = isJsonObject(file[path]) ? file[path] : {};
  const { lossScale, initialScalePower, lossScaleWindow, hysteresis, minLossScale } =
    defaultLossScaling;
  const number = (key: string, range: NumberRange): number =>
    reading.number(block, key, { path, ...range });
  return {
    lossScale: number("loss_scale", { least: 0, absent: lossScale, whole: false }),
    initialScalePower: number("initial_scale_power", { least: 0, absent: initialScalePower }),
    lossScaleWindow: number("loss_scale_window", { least: 1, absent: lossScaleWindow }),
    hysteresis: number("hysteresis", { least: 1, absent: hysteresis }),
    consecutiveHysteresis:
      reading.boolean(block, "consecutive_hysteresis", `${path}.consecutive_hysteresis`) ??
      defaultLossScaling.consecutiveHysteresis,
    minLossScale: number("min_loss_scale", { least: 0, absent: minLossScale, whole: false }),
  };
};
