import type { PeftType } from "../../peft/registry.js";
import type { ProgressUi } from "../../report/progress.js";
import type { ComputeChoice } from "../../runtime/compute-plan.js";
import type { DoctorReport } from "../../runs/doctor.js";
import type { CheckedModel, CheckedModelOptions } from "../../runs/run-doctor.js";
import { besideJson } from "../beside-json.js";
import { defineCommand, type Command } from "../command.js";
import { deviceFlags, offReference, readDeviceOptions } from "../device-options.js";
import { formatDoctor, formatModelCheck } from "../doctor-table.js";
import { inFourBits } from "../model-reads.js";
import { flags, pickFlags } from "../options.js";
import { always, onlyWith } from "../reads.js";
import { readBaseStorage, storageFlagNames } from "../storage-options.js";

/** What the library does for `hira doctor`. */
export interface DoctorWork {
  examine(options: ComputeChoice & { readonly dataDir: string | undefined }): Promise<DoctorReport>;
  check(options: CheckedModelOptions, ui: ProgressUi): Promise<CheckedModel>;
}

const { skip_device_check: _skip, ...shownFlags } = deviceFlags;
const ofModel = onlyWith<"model_name", string | null>(
  "model_name",
  (name) => name !== null,
  "model",
);

/** `hira doctor`: what this machine can compute on, and what is missing. */
export const doctorCommand = (work: DoctorWork): Command =>
  defineCommand({
    name: "doctor",
    summary: "Show what this machine can compute on, and what is missing",
    description:
      "Looks at the program, the processor, each device with what it lacks, data, models and caches. With --model it compares --device with the CPU on that model: loss and every gradient of a fresh adapter, and likelihoods of decoding. Ends with 1 where the device that is asked for cannot compute, or computes otherwise than the CPU.",
    flags: {
      ...shownFlags,
      device: { ...flags.device, default: null, help: "The device in question; if not given, all" },
      model_name: {
        ...flags.model_name,
        default: null,
        help: "Model to compare the device with the CPU on: its folder, or org/name[@revision]",
      },
      peft_type: {
        ...flags.peft_type,
        default: "hira",
        help: "Of the fresh adapter on the --model",
      },
      ...pickFlags([...storageFlagNames, "data_dir", "json"]),
    },
    reads: {
      device: always,
      device_dir: always,
      precision: [ofModel],
      threads: always,
      model_name: always,
      peft_type: [ofModel],
      load_bit: [ofModel],
      quant_type: [ofModel, inFourBits],
      double_quant: [ofModel, inFourBits],
      data_dir: always,
      json: always,
    },
    examples: [
      ["hira doctor", "everything, in a page"],
      [
        "hira doctor --device=openvino --precision=bf16 --model=DIR",
        "whether the device can be trusted with this model",
      ],
    ],
    async run({ values, context: { ui, note, terminal }, faults, throwFaults }) {
      const { device, model_name: modelName } = values;
      const compute = readDeviceOptions({
        ...values,
        device: device ?? "auto",
        skip_device_check: false,
      });
      const storage = readBaseStorage(values, values.peft_type, faults);
      if (
        modelName !== null &&
        !offReference.isMet({ ...values, device: compute.device }, new Set())
      )
        faults.push({
          what: "--model",
          found: "the CPU in fp32 beside it, with which everything else is compared",
          expected: "--device=openvino, cuda or webgpu, or another --precision",
        });
      throwFaults();
      const report = await work.examine({
        ...compute,
        device: device ?? undefined,
        dataDir: values.data_dir ?? undefined,
      });
      const isMissing = report.devices.some(
        (each) => each.name === report.asked && "missing" in each,
      );
      const checked =
        modelName === null || isMissing
          ? undefined
          : await work.check(
              { ...compute, ...storage, modelName, peftType: values.peft_type as PeftType },
              values.json ? besideJson(ui, note) : ui,
            );
      if (values.json)
        ui.line(JSON.stringify(checked ? { ...report, check: checked } : report, null, 2));
      else
        for (const line of [
          ...formatDoctor(report, terminal),
          ...(checked ? ["", ...formatModelCheck(checked, terminal)] : []),
        ])
          ui.line(line);
      return isMissing || checked?.fault ? 1 : undefined;
    },
  });
