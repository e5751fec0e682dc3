import { readFileSync } from "node:fs";
import test from "ava";
import {
  formatTwoDigitExponent,
  PythonFloat,
  pythonJson,
  pythonRepr,
  trainableLine,
  trainablePercent,
} from "../../src/report/python-format.js";

// Written by scripts/reference/python_format.py.
const fixture = JSON.parse(
  readFileSync(new URL("../fixtures/python-format/values.json", import.meta.url), "utf8"),
) as {
  floats: { value: string; repr: string; two: string }[];
  percents: { trainable: number; all: number; text: string }[];
  texts: { text: string; ascii: string; unicode: string }[];
  value: string;
};

const floats = fixture.floats.map((row) => ({
  ...row,
  value: Buffer.from(row.value, "hex").readDoubleBE(),
}));

test("pythonRepr prints every float as Python does", (t) => {
  t.true(floats.length > 500);
  for (const { value, repr } of floats) t.is(pythonRepr(value), repr);
  t.deepEqual([NaN, Infinity, -Infinity].map(pythonRepr), ["nan", "inf", "-inf"]);
});

test("formatTwoDigitExponent prints every float as Python's .2e, ties to even", (t) => {
  for (const { value, two } of floats) t.is(formatTwoDigitExponent(value), two, String(value));
  t.is(formatTwoDigitExponent(0.001), "1.00e-03");
  t.is(formatTwoDigitExponent(1.125), "1.12e+00");
});

test("pythonJson writes text as json.dumps does, with and without ensure_ascii", (t) => {
  for (const { text, ascii, unicode } of fixture.texts) {
    t.is(pythonJson(text), ascii);
    // A lone surrogate cannot be written as UTF-8: Python fails on it later, here it stays escaped.
    if (!/\p{Surrogate}/u.test(text)) t.is(pythonJson(text, { ensureAscii: false }), unicode);
    t.is(JSON.parse(pythonJson(text, { ensureAscii: false })), text);
  }
});

test("pythonJson writes nested values as json.dumps does", (t) => {
  const value = {
    a: [1, new PythonFloat(1), null, true, false, 1e-5, new PythonFloat(-0), 2n ** 70n],
    b: {},
    c: [],
    d: { lr: 0.001, nan: NaN },
    e: undefined,
  };
  t.is(pythonJson(value), fixture.value);
  t.is(pythonJson([Infinity, -Infinity, 2 ** 70]), "[Infinity, -Infinity, 1180591620717411303424]");
});

test("trainableLine ends in the digits that Python prints", (t) => {
  for (const { trainable, all, text } of fixture.percents) {
    t.is(pythonRepr(trainablePercent(trainable, all)), text);
    t.is(
      trainableLine(trainable, all),
      `trainable params: ${String(trainable)} || all params: ${String(all)} || trainable%: ${text}`,
    );
  }
});
