/** What stands in front of a final answer in MetaMath's solutions. */
const phrase = "The answer is:";

/** A decimal digit of any script, as Python's \d has it. */
const digit = String.raw`\p{Nd}`;

/** Digits of any script as ASCII digits. */
const asciiDigits = (text: string): string =>
  text.replaceAll(/\p{Nd}/gu, (character) => {
    if (character <= "9") return character;
    const code = character.codePointAt(0) ?? 0;
    // Decimal digits come in runs of ten, each from its zero on.
    let zero = code;
    while (zero > code - 9 && /\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero--;
    return String((code - zero) % 10);
  });

/** Rounded to a whole number, halves to even, as Python's round. */
const roundHalfEven = (value: number): number => {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
};

/**
 * The last run of digits in a text; "" where there is none.
 *
 * Source: extract_answer of metamath_eval.py.
 */
export const lastDigits = (text: string): string =>
  text.match(new RegExp(`${digit}+`, "gu"))?.at(-1) ?? "";

/**
 * The whole number behind the last `The answer is: `, by the original's rule: of 1,234,567 it is 1234, of 0.4 it is 0, of 7/0 it is 7;
 * undefined where there is none.
 *
 * Source: extract_answer_number of metamath_eval.py.
 */
export const originalAnswerNumber = (text: string): number | undefined => {
  const parts = text.split(`${phrase} `);
  const last = parts.at(-1);
  if (parts.length < 2 || last === undefined) return undefined;
  const found = new RegExp(`[-+]?${digit}*[.,/]?${digit}+`, "u").exec(last.trim())?.[0];
  if (found === undefined) return undefined;
  const number = asciiDigits(found);
  const [numerator = "", denominator] = number.split("/");
  const value =
    denominator === undefined
      ? Number(number.replaceAll(",", ""))
      : /\d/.test(numerator)
        ? Number(numerator) / (Number(denominator) || 1)
        : NaN;
  return Number.isFinite(value) ? roundHalfEven(value) : undefined;
};

/**
 * A number as people write it: a sign that is no minus between two terms, perhaps a currency, thousands in groups of three or
 * digits in a row, decimals; over another one, a fraction.
 */
const written =
  /(?:(?<![\p{L}\p{Nd}.)\]])[-+\u2212])?[$€£]?(?:(?:\p{Nd}{1,3}(?:,\p{Nd}{3})+(?!\p{Nd})|\p{Nd}+)(?:\.\p{Nd}+)?|\.\p{Nd}+)(?:\/\p{Nd}+)?/gu;

/** The value of a written number; undefined for a fraction over 0 and what no float holds. */
const valueOf = (text: string): number | undefined => {
  const plain = asciiDigits(text)
    .replaceAll(/[,$€£]/g, "")
    .replace("\u2212", "-");
  const [numerator = "", denominator] = plain.split("/");
  const value = Number(numerator) / (denominator === undefined ? 1 : Number(denominator));
  return Number.isFinite(value) ? value : undefined;
};

/** The numbers of a text, in order. */
const numbersOf = (text: string): readonly number[] =>
  [...text.matchAll(written)].flatMap(([found]) => valueOf(found) ?? []);

/** The last number of a text, read whole: sign, thousands, decimals, fraction. */
export const lastNumber = (text: string): number | undefined => numbersOf(text).at(-1);

/** Whether the text says `The answer is:`. */
export const hasPhrase = (text: string): boolean => text.includes(phrase);

/** The first number behind the last `The answer is:`, read whole. */
export const answerNumber = (text: string): number | undefined => {
  const at = text.lastIndexOf(phrase);
  return at < 0 ? undefined : numbersOf(text.slice(at + phrase.length))[0];
};

/** Whether two numbers are the same but for how a float rounds them. */
export const isSameNumber = (a: number | undefined, b: number | undefined): boolean =>
  a !== undefined && b !== undefined && Math.abs(a - b) <= 1e-6 * Math.max(1, Math.abs(b));
