import { UserError } from "../core/errors.js";
import type { ProcessGroup } from "../distributed/process-group.js";
import { zeroSettingsOf, type AskedZeroSettings } from "../distributed/zero-settings.js";
import type { Adapter } from "../peft/adapter.js";
import type { Device } from "../runtime/device.js";

/** How the state of a training is shared out among processes. */
export interface Sharding {
  /** ZeRO's: 1 moments, 2 gradients too, 3 values and frozen weights too. */
  readonly stage: 1 | 2 | 3;
  readonly group: ProcessGroup;
  /** Whether messages go around while layers are computed. */
  readonly overlaps: boolean;
  /** Stage 3: frozen weights of fewer elements every process has whole. */
  readonly persistenceThreshold: number;
}

/**
 * How a run shares its state out: as its --ds_config asks, where there are several processes.
 *
 * @throws {UserError} on a device that cannot, and with an adapter that is pruned
 */
export const shardingOf = (
  asked: AskedZeroSettings | undefined,
  group: ProcessGroup,
  {
    hiddenSize,
    adapter,
    device,
  }: {
    readonly hiddenSize: number;
    readonly adapter: Pick<Adapter, "pruning">;
    readonly device: Device;
  },
): Sharding | undefined => {
  if (!asked || group.size === 1) return undefined;
  const { stage, overlapComm, paramPersistenceThreshold } = zeroSettingsOf(asked, hiddenSize);
  if (stage === 0) return undefined;
  const refuse = (found: string, hint: string): never => {
    throw new UserError(
      `Cannot train with zero_optimization.stage ${String(stage)} in ${String(group.size)} processes: found ${found}`,
      hint,
    );
  };
  if (device.place !== "host" || (stage > 1 && device.cutsByLayer !== true))
    refuse(
      `--device=${device.name}, expected --device=cpu`,
      "Stage 0 trains on every device, with the same numbers",
    );
  if (adapter.pruning)
    refuse(
      "an adapter whose matrices are pruned as a whole, expected one that is not",
      "Use stage 0: the numbers are the same",
    );
  return {
    ...{ stage, group, overlaps: overlapComm },
    persistenceThreshold: paramPersistenceThreshold,
  };
};
