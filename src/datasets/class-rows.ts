import { UserError } from "../core/errors.js";
import { describeJson } from "../core/json.js";
import { listRows } from "../core/row-names.js";
import { defaultLabel } from "../models/classifier.js";
import { throwFaults, type RecordFile } from "./read-records.js";

/** A text, or two of them, and its class. */
export interface ClassRow {
  readonly text: string;
  readonly pair?: string;
  /** Number of the class. */
  readonly label: number;
}

/** The rows of a file for classification. */
export interface ClassRows {
  readonly rows: readonly ClassRow[];
  /** The names of the classes, by number. */
  readonly labels: readonly string[];
  /** The fields of the texts: `sentence`, `premise/hypothesis`. */
  readonly form: string;
  readonly remarks: readonly string[];
}

/** The fields that a text may have, or two texts, in the order in which they are looked for. */
const forms: readonly (readonly [text: string, pair?: string])[] = [
  ["text", "text_pair"],
  ["sentence1", "sentence2"],
  ["premise", "hypothesis"],
  ["text"],
  ["sentence"],
];

/** More classes than any set has: a larger number is a mistake in the file. */
const mostLabels = 10_000;

const formOf = ({ path, records }: RecordFile): readonly [text: string, pair?: string] => {
  const fields = records[0]?.value ?? {};
  const form = forms.find((names) => names.every((name) => name !== undefined && name in fields));
  if (form && "label" in fields) return form;
  const names = Object.keys(fields).join(", ");
  throw new UserError(
    `Cannot classify ${path}, ${records[0]?.place ?? "row 1"}: found ${names === "" ? "no fields" : `fields ${names}`}, expected label and ${forms.map((each) => each.join(" and ")).join(", or ")}`,
    "Name the columns so; a .csv or .tsv file names them in its first line",
  );
};

/** A label as it is compared: tables have numbers as text. */
const isWholeNumber = (value: unknown): boolean =>
  Number.isSafeInteger(value) || (typeof value === "string" && /^-?\d+$/.test(value));

/**
 * The names of the classes that a file's labels show: of numbers 0, 1, ... the given names, or transformers' LABEL_0, LABEL_1, ...; of
 * texts, all that occur, in the order of their code points.
 */
const namesOf = (
  { path, records }: RecordFile,
  numbers: boolean,
  names: readonly string[] | undefined,
): readonly string[] => {
  const values = records.map(({ value }) => value.label);
  const found = numbers
    ? Array.from(
        { length: values.reduce<number>((most, label) => Math.max(most, Number(label)), 0) + 1 },
        (_, i) => names?.[i] ?? defaultLabel(i),
      )
    : [...new Set(values.map(String))].sort((a, b) => (a < b ? -1 : 1));
  if (found.length < 2)
    throw new UserError(
      `Cannot classify ${path}: found one label in all rows, ${JSON.stringify(values[0])}, expected two or more`,
    );
  return found;
};

/** What is wrong with a label that is to be one of `labels`, or its number. */
const numberOf = (value: unknown, numbers: boolean, labels: readonly string[]): number | string => {
  const range = `a whole number from 0 to ${String(labels.length - 1)}`;
  if (value === undefined) return "found no label, expected one";
  if (numbers) {
    if (!isWholeNumber(value)) return `found label ${describeValue(value)}, expected ${range}`;
    const number = Number(value);
    return number >= 0 && number < labels.length
      ? number
      : `found label ${String(number)}, expected ${range}`;
  }
  const number = typeof value === "string" ? labels.indexOf(value) : -1;
  return number >= 0
    ? number
    : `found label ${describeValue(value)}, expected one of ${labels
        .slice(0, 8)
        .map((label) => JSON.stringify(label))
        .join(", ")}${labels.length > 8 ? ", ..." : ""}`;
};

const describeValue = (value: unknown): string =>
  typeof value === "string" || typeof value === "number"
    ? JSON.stringify(value)
    : describeJson(value);

/**
 * The rows of a file with `label` and `text`, `sentence`, or two texts (`text`/`text_pair`, `sentence1`/`sentence2`,
 * `premise`/`hypothesis`). Labels are whole numbers from 0 on, or texts.
 *
 * @param options.names what the set calls its numbers
 * @param options.known the classes of a model: the labels have to be among them
 * @throws {UserError} listing every row whose text or label is missing, of another type or out of range
 */
export const readClassRows = (
  file: RecordFile,
  {
    names,
    known,
  }: { readonly names?: readonly string[]; readonly known?: readonly string[] | undefined } = {},
): ClassRows => {
  const { path, records } = file;
  const [text, pair] = formOf(file);
  const numbers = isWholeNumber(records[0]?.value.label);
  const faults: string[] = [];
  const bound = Array.from({ length: mostLabels }, () => "");
  for (const { place, value } of records) {
    for (const field of [text, ...(pair === undefined ? [] : [pair])])
      if (typeof value[field] !== "string")
        faults.push(
          value[field] === undefined
            ? `${place}: found no ${field}, expected text`
            : `${place}: found ${describeJson(value[field])} in ${field}, expected text`,
        );
    const { label } = value;
    const number = known
      ? numberOf(label, numbers, known)
      : numbers
        ? numberOf(label, true, bound)
        : typeof label === "string" && label !== ""
          ? 0
          : label === undefined || label === ""
            ? "found no label, expected one"
            : `found label ${describeValue(label)}, expected text as in the rows before`;
    if (typeof number === "string") faults.push(`${place}: ${number}`);
  }
  throwFaults(
    path,
    faults,
    known
      ? "The labels are those of the model: mend these rows, or give the data that it was trained for"
      : "Mend or remove these rows",
  );
  const labels = known ?? namesOf(file, numbers, names);
  const rows = records.map(({ value }): ClassRow => ({
    text: String(value[text]),
    ...(pair !== undefined && { pair: String(value[pair]) }),
    label: Number(numberOf(value.label, numbers, labels)),
  }));
  const seen = new Set(rows.map(({ label }) => label));
  const unseen = labels.flatMap((label, i) => (seen.has(i) ? [] : [label]));
  const empty = rows.flatMap((row, i) => (row.text.trim() === "" ? [i] : []));
  return {
    rows,
    labels,
    form: [text, ...(pair === undefined ? [] : [pair])].join("/"),
    remarks: [
      ...(unseen.length > 0 && !known
        ? [
            `no row has the label ${unseen.slice(0, 8).join(", ")}${unseen.length > 8 ? ", ..." : ""}`,
          ]
        : []),
      ...(empty.length > 0
        ? [`${String(empty.length)} rows have an empty text (${listRows(empty)})`]
        : []),
    ],
  };
};
