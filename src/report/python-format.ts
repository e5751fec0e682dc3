/**
 * Numbers and JSON as Python prints them, for the files and lines that are compared with the original's.
 *
 * Source: CPython's float_repr_style "short" (Objects/floatobject.c) and Lib/json/encoder.py.
 */

/** A number that Python holds as a float: JavaScript cannot tell 1.0 from 1, Python prints them differently. */
export class PythonFloat {
  constructor(readonly value: number) {}
}

/** What {@link pythonJson} writes. A plain whole number is Python's int, any other number is a float. */
export type PythonValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | PythonFloat
  | readonly PythonValue[]
  | { readonly [key: string]: PythonValue | undefined };

/** The digits of a finite number without sign and point, and the power of ten of the first digit. */
const shortestDigits = (value: number): { digits: string; exponent: number } => {
  const [mantissa = "0", exponent = "0"] = Math.abs(value).toExponential().split("e");
  return { digits: mantissa.replace(".", ""), exponent: Number(exponent) };
};

/** `e-05`, `e+16`: at least two digits, always a sign. */
const exponentText = (exponent: number): string =>
  `e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;

const signOf = (value: number): string => (value < 0 || Object.is(value, -0) ? "-" : "");

/**
 * Python's repr(float): the shortest digits that read back as the same number; 1.0, 1e-05, 1e+16, inf, nan.
 *
 * The digits are those of JavaScript; only where the exponent form begins differs (below 1e-4 and from 1e16).
 */
export const pythonRepr = (value: number): string => {
  if (Number.isNaN(value)) return "nan";
  const sign = signOf(value);
  if (!Number.isFinite(value)) return `${sign}inf`;
  const { digits, exponent } = shortestDigits(value);
  if (exponent < -4 || exponent >= 16) {
    const fraction = digits.length > 1 ? `.${digits.slice(1)}` : "";
    return `${sign}${digits.slice(0, 1)}${fraction}${exponentText(exponent)}`;
  }
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  return `${sign}${whole}.${digits.slice(exponent + 1) || "0"}`;
};

/**
 * Python's format(value, ".2e"): 0.001 is "1.00e-03".
 *
 * Python rounds an exact tie to even, toExponential upwards (1.125 is 1.12e+00 there, 1.13e+0 here): 100 decimals
 * show every tie, since a double this close to a four-digit decimal is that decimal.
 */
export const formatTwoDigitExponent = (value: number): string => {
  if (!Number.isFinite(value)) return pythonRepr(value);
  const exact = Math.abs(value).toExponential(100); // d.ddd...e+x
  const isTie = /^\d\.\d\d50*e/.test(exact);
  const isEven = Number(exact[3]) % 2 === 0;
  const rounded =
    isTie && isEven ? `${exact.slice(0, 4)}${exact.slice(exact.indexOf("e"))}` : undefined;
  const [mantissa = "", exponent = "0"] = (rounded ?? Math.abs(value).toExponential(2)).split("e");
  return `${signOf(value)}${mantissa}${exponentText(Number(exponent))}`;
};

/**
 * Python's round(value, digits): to the nearest, and an exact tie to the even digit, which toFixed takes upwards.
 *
 * 100 decimals show every tie, as in {@link formatTwoDigitExponent}.
 */
export const pythonRound = (value: number, digits: number): number => {
  const size = Math.abs(value);
  if (!Number.isFinite(value) || size >= 1e21) return value;
  const exact = size.toFixed(100);
  const end = exact.indexOf(".") + 1 + digits;
  const isTie = /^50*$/.test(exact.slice(end));
  const isEven = Number(exact.slice(0, end).replace(".", "").at(-1)) % 2 === 0;
  const rounded = Number(isTie && isEven ? exact.slice(0, end) : size.toFixed(digits));
  return value < 0 || Object.is(value, -0) ? -rounded : rounded;
};

/** A float as json.dumps spells it: as repr, but NaN, Infinity, -Infinity. */
const jsonFloat = (value: number): string => {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value < 0 ? "-Infinity" : "Infinity";
  return pythonRepr(value);
};

/** JSON.stringify escapes what Python does with ensure_ascii=False, but for DEL, which both leave alone. */
const jsonString = (text: string, ensureAscii: boolean): string => {
  const quoted = JSON.stringify(text);
  return ensureAscii
    ? quoted.replace(
        /[\u007f-\uffff]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
      )
    : quoted;
};

/**
 * json.dumps(value): ", " and ": " between the parts, floats by {@link pythonRepr}, NaN and Infinity unquoted.
 *
 * `ensureAscii` is json.dumps' own default (true); Python's jsonlines package, which wrote the original's files,
 * sets it to false. Entries that are undefined are left out.
 */
export const pythonJson = (
  value: PythonValue,
  { ensureAscii = true }: { readonly ensureAscii?: boolean } = {},
): string => {
  const write = (part: PythonValue): string => {
    if (part === null) return "null";
    if (part instanceof PythonFloat) return jsonFloat(part.value);
    switch (typeof part) {
      case "boolean":
      case "bigint":
        return String(part);
      case "number":
        return Number.isInteger(part) ? String(BigInt(part)) : jsonFloat(part);
      case "string":
        return jsonString(part, ensureAscii);
      default:
    }
    if (isArray(part)) return `[${part.map(write).join(", ")}]`;
    const entries = Object.entries(part).flatMap(([key, entry]) =>
      entry === undefined ? [] : [`${jsonString(key, ensureAscii)}: ${write(entry)}`],
    );
    return `{${entries.join(", ")}}`;
  };
  return write(value);
};

/** Array.isArray does not narrow a readonly array out of a union. */
const isArray = (value: object): value is readonly PythonValue[] => Array.isArray(value);

/** 100 * trainable / all, in Python's order of operations, so that the last digit agrees. */
export const trainablePercent = (trainable: number, all: number): number => (100 * trainable) / all;

/** The line that the original prints, without its line end. Source: print_trainable_parameters of models/get_models.py. */
export const trainableLine = (trainable: number, all: number): string =>
  `trainable params: ${String(trainable)} || all params: ${String(all)} || trainable%: ${pythonRepr(trainablePercent(trainable, all))}`;
