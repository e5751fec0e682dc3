import type { ProgressUi } from "../report/progress.js";
import type { ComputeChoice, Planned } from "../runtime/compute-plan.js";
import { isReference, type TellCheck } from "../train/device-check.js";

/**
 * Who is told what the checks of a command's device find; undefined where nothing is checked: on the CPU in float32, and with
 * --skip_device_check, which is said once.
 */
export const deviceChecks = (
  { plan, skipDeviceCheck = false }: Pick<ComputeChoice, "skipDeviceCheck"> & Planned,
  ui: Pick<ProgressUi, "line" | "warn">,
): TellCheck | undefined => {
  if (isReference(plan)) return undefined;
  if (!skipDeviceCheck)
    return (line) => {
      ui.line(line);
    };
  ui.warn(
    `--skip_device_check: nothing that ${plan.device.description} computes in ${plan.precision} is compared with the CPU`,
  );
  return undefined;
};
