import { CsvError, parse } from "csv-parse/sync";
import { UserError } from "../core/errors.js";
import type { JsonValuesFile } from "../core/json-values.js";
import { readTextFile } from "../core/text-file.js";

/** What separates the fields of a file, by its ending; undefined where it is no table. */
export const tableForm = (path: string): "csv" | "tsv" | undefined => {
  const form = /\.(csv|tsv)(\.gz)?$/.exec(path)?.[1];
  return form === "csv" || form === "tsv" ? form : undefined;
};

interface ParsedRecord {
  readonly record: readonly string[];
  readonly info: { readonly lines: number };
}

/**
 * The rows of a .csv or .tsv file as objects of text, by the names in its first line.
 *
 * A field of .csv may stand in double quotes and then have commas, line ends and doubled quotes in it (RFC 4180). In .tsv a quote is a
 * character like any other, as in the files of GLUE, so that a field has neither tabs nor line ends. Blank lines are passed over.
 * @throws {UserError} if the file cannot be read, or the first row whose fields or quotes are not so, with its line
 */
export const readTableValues = async (path: string): Promise<JsonValuesFile> => {
  const { text, sha256 } = await readTextFile(path);
  const isCsv = tableForm(path) === "csv";
  const [names, ...rows] = parseTable(text, path, isCsv);
  if (names === undefined) return { values: [], sha256 };
  const seen = new Set<string>();
  for (const name of names.record) {
    if (name.trim() === "" || seen.has(name))
      throw new UserError(
        `Cannot read ${path}, line 1: found ${name.trim() === "" ? "a column without a name" : `two columns ${JSON.stringify(name)}`}, expected a name of its own for every column`,
        "The first line names the columns",
      );
    seen.add(name);
  }
  // A row begins behind the line where the one before it ends; blank lines between them count to neither.
  let last = names.info.lines;
  const values = rows.map(({ record, info: { lines } }) => {
    const linesInRow = record.reduce((sum, field) => sum + field.split("\n").length - 1, 0);
    const first = Math.max(last + 1, lines - linesInRow);
    last = lines;
    return {
      place: `line ${String(first)}`,
      value: Object.fromEntries(names.record.map((name, i) => [name, record[i] ?? ""])),
    };
  });
  return { values, sha256 };
};

const parseTable = (text: string, path: string, isCsv: boolean): readonly ParsedRecord[] => {
  try {
    return parse(text, {
      bom: true,
      delimiter: isCsv ? "," : "\t",
      quote: isCsv ? '"' : null,
      info: true,
      skip_empty_lines: true,
      record_delimiter: ["\r\n", "\n", "\r"],
    }) as unknown as readonly ParsedRecord[];
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    throw new UserError(
      `Cannot read ${path}${placeOf(error)}: ${faultOf(error)}`,
      isCsv
        ? 'Put a field that has commas, quotes or line ends into double quotes, and write each quote in it as ""'
        : "In .tsv a quote is text, and a field has no tab or line end: save such a table as .csv, with quotes",
    );
  }
};

const numberIn = (error: CsvError, name: string): number | undefined => {
  const value: unknown = (error as unknown as Record<string, unknown>)[name];
  return typeof value === "number" ? value : undefined;
};

const placeOf = (error: CsvError): string => {
  const line = numberIn(error, "lines");
  return line === undefined ? "" : `, line ${String(line)}`;
};

const faultOf = (error: CsvError): string => {
  const { record } = error as unknown as { readonly record?: unknown };
  switch (error.code) {
    case "CSV_RECORD_INCONSISTENT_FIELDS_LENGTH":
      return `found ${Array.isArray(record) ? `${String(record.length)} fields` : "another number of fields"}, expected as many as the first line has names`;
    case "CSV_QUOTE_NOT_CLOSED":
      return "found the file's end inside a quoted field, expected a closing quote";
    case "INVALID_OPENING_QUOTE":
      return "found a quote inside a field that does not begin with one";
    case "CSV_INVALID_CLOSING_QUOTE":
      return "found text behind a field's closing quote, expected a comma or the line's end";
    default:
      return error.message;
  }
};
