import { basename } from "node:path";
import { wordsOfDecodingCheck } from "../decode/device-check.js";
import type { Complaint, DoctorReport, FoundDevice } from "../runs/doctor.js";
import type { CheckedModel } from "../runs/run-doctor.js";
import type { BoundedError } from "../train/gradient-errors.js";
import type { Painter } from "./style-text.js";
import { formatTable } from "./table.js";
import { formatBytes } from "./terminal-progress.js";
import { wrapText } from "./wrap-text.js";

interface Terminal {
  readonly columns: number;
  readonly paint: Painter;
}

const labelWidth = 11;

/** A label, and its text beside it; further lines of the text stand below one another. */
const labelled = (label: string, text: string, { columns }: Terminal): readonly string[] => {
  const lines = wrapText(text, columns - labelWidth);
  return lines.map((line, i) => `${(i === 0 ? label : "").padEnd(labelWidth)}${line}`.trimEnd());
};

const sizeWords = (bytes: number): string =>
  bytes < 2 ** 20 ? `${String(Math.ceil(bytes / 1024))} KiB` : formatBytes(bytes);

const versionWords = ({ code, host, runtime }: DoctorReport): string => {
  const commit =
    code.commit === null
      ? ""
      : `, commit ${code.commit.slice(0, 7)}${code.dirty === true ? " with changes" : ""}`;
  const ort = "version" in runtime ? `, ONNX Runtime ${runtime.version}` : "";
  return `${code.version}${commit}, Node ${host.node}${ort}, ${host.platform} ${host.arch}`;
};

const complaintLines = ({ message, hint }: Complaint, terminal: Terminal): readonly string[] => [
  ...labelled("", message, terminal),
  ...(hint === undefined ? [] : labelled("", hint, terminal)),
];

const rateWords = (device: Exclude<FoundDevice, { missing: Complaint }>): string =>
  device.precisions
    .map((precision) => {
      const rate = device.rates.find((each) => each.precision === precision);
      return rate === undefined
        ? precision
        : `${precision} ${rate.gflops.toLocaleString("en-US", { maximumFractionDigits: rate.gflops < 10 ? 1 : 0 })}`;
    })
    .join(", ");

const deviceLines = (device: FoundDevice, terminal: Terminal): readonly string[] => {
  const { paint } = terminal;
  const isReady = !("missing" in device);
  const lines = isReady
    ? [
        ...labelled(device.name, device.description, terminal),
        ...labelled(
          "",
          `GFLOP/s of matrix products: ${rateWords(device)}${device.place === "host" ? "" : "; memory of its own"}`,
          terminal,
        ),
      ]
    : [...labelled(device.name, "not here", terminal), ...complaintLines(device.missing, terminal)];
  const [first = "", ...others] = lines;
  // The names alone: what is wrong is for reading.
  const name = paint(isReady ? "green" : "yellow", first.slice(0, labelWidth));
  return [name + first.slice(labelWidth), ...others];
};

const dataWords = ({ data: { root, by, sets } }: DoctorReport): string => {
  const names = sets.map(({ name, splits }) =>
    splits.length === 3 ? name : `${name} (${splits.join(", ")})`,
  );
  return `${root} (${by}): ${names.length === 0 ? "no data sets; hira data list shows what can be fetched" : names.join(", ")}`;
};

const modelLines = ({ models }: DoctorReport, terminal: Terminal): readonly string[] =>
  models.length === 0
    ? labelled(
        "models",
        "none in this folder, in models, in the data folder or in the Hub's cache",
        terminal,
      )
    : models.flatMap(({ name, bytes, isCached }, i) =>
        labelled(
          i === 0 ? "models" : "",
          `${name}, ${sizeWords(bytes)}${isCached ? ", in the Hub's cache" : ""}`,
          terminal,
        ),
      );

const featureWords = ({ host: { features } }: DoctorReport): string => {
  if (features === undefined) return "what it can do is not said by this system";
  return features.length === 0 ? "no instructions for matrix products" : features.join(" ");
};

/** What `hira doctor` shows: no line is longer than the terminal, unless a word is. */
export const formatDoctor = (report: DoctorReport, terminal: Terminal): readonly string[] => {
  const { host, runtime, devices, caches } = report;
  const { paint } = terminal;
  const heading = (text: string): string => paint("bold", text);
  return [
    ...labelled("hira", versionWords(report), terminal),
    ...("missing" in runtime ? complaintLines(runtime.missing, terminal) : []),
    ...labelled(
      "processor",
      `${host.cpu}, ${String(host.cores)} ${host.cores === 1 ? "thread" : "threads"}`,
      terminal,
    ),
    ...labelled("", featureWords(report), terminal),
    ...labelled(
      "memory",
      `${formatBytes(host.memory_bytes)}, of which ${formatBytes(host.available_bytes)} can be had`,
      terminal,
    ),
    "",
    heading("Devices"),
    ...devices.flatMap((device) => deviceLines(device, terminal)),
    "",
    heading("Files"),
    ...labelled("data", dataWords(report), terminal),
    ...modelLines(report, terminal),
    ...caches.flatMap(({ what, folder, bytes, files }, i) =>
      labelled(
        i === 0 ? "caches" : "",
        `${what}: ${files === 0 ? "nothing" : sizeWords(bytes)} in ${folder}`,
        terminal,
      ),
    ),
  ];
};

const percent = (share: number): string =>
  Number.isFinite(share) ? `${String(Number((100 * share).toPrecision(2)))} %` : "not finite";

/** How many gradients are shown, those with the largest errors. */
const shownGradients = 5;

const ofBound = ({ error, bound }: BoundedError): number =>
  Number.isFinite(error) ? error / bound : Infinity;

/** What the comparison of a device with the CPU on a model has found. */
export const formatModelCheck = (
  { device, precision, peftType, model, training, decoding, fault }: CheckedModel,
  terminal: Terminal,
): readonly string[] => {
  const { paint } = terminal;
  const { loss, gradients, seconds } = training;
  const rows = gradients
    .toSorted((a, b) => ofBound(b) - ofBound(a))
    .slice(0, shownGradients)
    .map(({ name, error, bound }) => [name, percent(error), percent(bound)]);
  const small = gradients.filter(({ isSmall }) => isSmall).length;
  return [
    paint("bold", `Check on ${basename(model)}`),
    ...labelled("device", `${device}, ${precision}`, terminal),
    ...labelled("adapter", `${peftType}, fresh, on made-up tokens`, terminal),
    ...labelled(
      "loss",
      `${loss.device.toPrecision(7)}, the CPU's in fp32 ${loss.cpu.toPrecision(7)}`,
      terminal,
    ),
    ...labelled(
      "gradients",
      `${String(gradients.length)}; those that are furthest away beside what is allowed:`,
      terminal,
    ),
    ...formatTable(
      [
        { heading: "gradient", align: "left" },
        { heading: "error", align: "right" },
        { heading: "allowed", align: "right" },
      ],
      rows,
    ).map((line) => `${" ".repeat(labelWidth)}${line}`),
    ...(small === 0
      ? []
      : labelled("", `${String(small)} of them are too small to tell from rounding`, terminal)),
    ...(decoding ? labelled("decoding", wordsOfDecodingCheck(decoding), terminal) : []),
    ...labelled("time", `${(seconds + (decoding?.seconds ?? 0)).toFixed(1)} s`, terminal),
    "",
    ...(fault
      ? [
          ...wrapText(fault.message, terminal.columns).map((line) => paint("red", line)),
          ...wrapText(fault.hint ?? "", terminal.columns),
        ]
      : [paint("green", "The device computes what the CPU computes.")]),
  ];
};
