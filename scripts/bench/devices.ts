import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { writeFileAtomically } from "../../src/core/atomic-file.js";
import { UserError } from "../../src/core/errors.js";
import { precisions, type Precision } from "../../src/core/precision.js";
import { checkModel, type ModelCheck } from "../../src/runs/check-model.js";
import { peftTypes, type PeftType } from "../../src/peft/registry.js";
import type { ComputePlan } from "../../src/runtime/compute-plan.js";
import { deviceNames, type Device } from "../../src/runtime/device.js";
import { openDevice } from "../../src/runtime/devices/registry.js";
import { isReference } from "../../src/train/device-check.js";
import { largestError, relativeDifference } from "../../src/train/gradient-errors.js";
import { loadBase } from "../../src/train/load-base.js";
import { demoFolder } from "../demo/paths.js";
import { writeRandomModel } from "../demo/random-model.js";
import type { Bench } from "./bench.js";

const usage =
  "--devices=cpu,openvino,... --precisions=fp32,bf16,... --methods=hira,lora,... --model=DIR --device_dir=DIR --threads=N --out=FILE.md --json=FILE.json";

/** What the check of one device has found with one method on one model. */
export interface DeviceRow {
  readonly model: string;
  readonly method: PeftType;
  readonly device: string;
  readonly precision: Precision;
  /** |gradient - g| / |g|, g the CPU's in fp32; the largest over all parameters. */
  readonly largestError: number;
  readonly of: string;
  /** The largest error beside what that gradient may have. */
  readonly ofBound: number;
  /** |loss - l| / |l| */
  readonly lossError: number;
  /** See DecodingCheck; null for what is not decoded. */
  readonly logProbError: number | null;
  /** Gradients that are too small to tell from rounding. */
  readonly small: number;
  readonly gradients: number;
  readonly seconds: number;
}

/** SmolLM2-135M but for its layers and vocabulary, of which a check learns nothing more: 4 layers, 4,096 tokens. */
const smolShape = {
  hidden_size: 576,
  intermediate_size: 1536,
  num_hidden_layers: 4,
  num_attention_heads: 9,
  num_key_value_heads: 3,
} as const;

const silent = {
  training: () => {
    throw new RangeError("Cannot train: nothing is trained here");
  },
  decoding: () => ({ advance: () => undefined, done: () => undefined }),
  line: () => undefined,
  warn: (text: string) => {
    console.error(`warning: ${text}`);
  },
};

const rowOf = (
  { training, decoding }: ModelCheck,
  facts: Pick<DeviceRow, "model" | "method" | "device" | "precision">,
): DeviceRow => {
  const { loss, gradients, seconds } = training;
  // One that is not finite is the largest; else by error alone, whatever each may be.
  const largest = largestError(gradients.map((each) => ({ ...each, bound: 1 })));
  const nearest = largestError(gradients);
  return {
    ...facts,
    largestError: largest?.error ?? NaN,
    of: largest?.name ?? "",
    ofBound: nearest ? nearest.error / nearest.bound : NaN,
    lossError: relativeDifference(loss.device, loss.cpu),
    logProbError: decoding?.logProbError ?? null,
    small: gradients.filter(({ isSmall }) => isSmall).length,
    gradients: gradients.length,
    seconds: seconds + (decoding?.seconds ?? 0),
  };
};

const exponent = (value: number): string => value.toExponential(1);

/** A table a model: methods by device and precision, each with the largest gradient error and the loss's. */
export const devicesMarkdown = (rows: readonly DeviceRow[]): string => {
  const unique = <T>(values: readonly T[]): readonly T[] => [...new Set(values)];
  const place = ({ device, precision }: DeviceRow): string => `${device} ${precision}`;
  return unique(rows.map(({ model }) => model))
    .map((model) => {
      const own = rows.filter((row) => row.model === model);
      const places = unique(own.map(place));
      const cell = (method: PeftType, at: string): string => {
        const row = own.find((each) => each.method === method && place(each) === at);
        if (!row) return "-";
        const decoded = row.logProbError === null ? "" : `, ${exponent(row.logProbError)}`;
        return `${exponent(row.largestError)} (${exponent(row.lossError)}${decoded})`;
      };
      return [
        `| ${model} | ${places.join(" | ")} |`,
        `| --- | ${places.map(() => "---").join(" | ")} |`,
        ...unique(own.map(({ method }) => method)).map(
          (method) => `| ${method} | ${places.map((at) => cell(method, at)).join(" | ")} |`,
        ),
      ].join("\n");
    })
    .join("\n\n");
};

const namesOf = <const Name extends string>(
  text: string | undefined,
  known: readonly Name[],
  flag: string,
): readonly Name[] | undefined => {
  if (text === undefined) return undefined;
  return text.split(",").map((name) => {
    const found = known.find((each) => each === name);
    if (found === undefined)
      throw new UserError(
        `Cannot use --${flag}=${name}: expected one of ${known.join(", ")}`,
        usage,
      );
    return found;
  });
};

/** The devices that can be opened; those that cannot are told. */
const openAll = async (
  names: readonly (typeof deviceNames)[number][],
  folder: string | undefined,
): Promise<readonly Device[]> => {
  const found: Device[] = [];
  for (const name of names)
    try {
      found.push(await openDevice({ device: name, folder }));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      console.error(`${name} is left out: ${error.message}`);
    }
  return found;
};

/** The largest gradient error of every method on every device and precision that this machine has. */
export const devicesBench: Bench = {
  summary:
    "Compare every method's loss, gradients and decoding on each device with the CPU in fp32",
  usage,
  async run(argv) {
    const { values } = parseArgs({
      args: [...argv],
      options: {
        devices: { type: "string" },
        precisions: { type: "string" },
        methods: { type: "string" },
        model: { type: "string" },
        device_dir: { type: "string" },
        threads: { type: "string" },
        out: { type: "string" },
        json: { type: "string" },
      },
    });
    const methods = namesOf(values.methods, peftTypes, "methods") ?? peftTypes;
    const asked = namesOf(values.precisions, precisions, "precisions") ?? precisions;
    const threads = values.threads === undefined ? undefined : Number(values.threads);
    const names = namesOf(values.devices, deviceNames, "devices") ?? deviceNames;
    const devices = await openAll(names, values.device_dir);
    const folder = await mkdtemp(join(tmpdir(), "hira-devices-"));
    const rows: DeviceRow[] = [];
    try {
      const models: Record<string, string> = {};
      if (values.model === undefined) {
        models.demo = demoFolder;
        models["SmolLM2's shape, 4 layers"] = join(folder, "smol");
        await writeRandomModel(join(folder, "smol"), 1, 4096, smolShape);
      } else models[values.model] = values.model;
      for (const [model, path] of Object.entries(models))
        for (const method of methods) {
          const storage = { loadBit: method === "qlora" ? 4 : 16, quantType: "nf4" } as const;
          const options = { ...storage, doubleQuant: true, tokenizer: "optional" } as const;
          const base = await loadBase(path, options, silent);
          for (const device of devices)
            for (const precision of asked.filter((each) => device.precisions.includes(each))) {
              const plan: ComputePlan = { device, precision, threads };
              if (isReference(plan)) continue;
              const found = await checkModel(base, method, plan, silent);
              const row = rowOf(found, { model, method, device: device.name, precision });
              rows.push(row);
              console.error(
                `${model}, ${method}, ${device.name} ${precision}: ${exponent(row.largestError)} (${row.of}), at most ${row.ofBound.toFixed(2)} of a bound, loss ${exponent(row.lossError)}, log p ${row.logProbError === null ? "-" : exponent(row.logProbError)}, ${row.seconds.toFixed(1)} s`,
              );
            }
        }
    } finally {
      for (const device of devices) device.dispose();
      await rm(folder, { recursive: true });
    }
    const markdown = devicesMarkdown(rows);
    console.log(markdown);
    if (values.out !== undefined) await writeFileAtomically(values.out, `${markdown}\n`);
    if (values.json !== undefined)
      await writeFileAtomically(values.json, `${JSON.stringify(rows, null, 2)}\n`);
  },
};
