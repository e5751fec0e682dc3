import test from "ava";
import { describeJson, parseJson } from "../../src/core/json.js";
import { UserError } from "../../src/core/errors.js";

const messageFor = (text: string): string => {
  try {
    parseJson(text, "rows.json");
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return "no error";
};

test("parseJson reads valid JSON, with or without a byte order mark", (t) => {
  t.deepEqual(parseJson('\ufeff{"a": [1, "é", null]}', "x"), { a: [1, "é", null] });
});

for (const [text, expected] of [
  ['[\n  {"a": 1},\n  {"a" 2}\n]', /rows\.json, line 3, column 8: found "2", expected ":"/],
  ["[1,\n2\n3]", /line 3, column 1: found "3", expected "," or "\]"/],
  ["[1,\n]", /line 2, column 1: found "\]", expected a value/],
  ['{"a": 1,\n}', /line 2, column 1: found "}", expected a key/],
  ['[{"a": "b', /line 1, column 8: .* expected a complete string/],
  ["", /line 1, column 1: found the end of the text, expected a value/],
  ['{"a": 1}\n{"a": 2}', /line 2, column 1: found "{", expected the end/],
  ['{"a": NaN}', /line 1, column 7: found NaN, expected a finite number/],
  ["[1, -Infinity]", /line 1, column 5: found -Infinity, expected a finite number/],
  ["[Infinite]", /line 1, column 2: found "I", expected a value/],
  ['{"a": [2,\n-1e+400]}', /line 2, column 1: found -1e\+400, expected a finite number/],
  [`[1${"0".repeat(309)}]`, /line 1, column 2: found 10+, expected a finite number/],
  ["[01]", /line 1, column 2: found "0", expected a value/],
] as const) {
  test(`parseJson names the broken place of ${JSON.stringify(text)}`, (t) => {
    t.regex(messageFor(text), expected);
  });
}

test("describeJson names what a value is", (t) => {
  t.deepEqual([[], null, {}, 1, "a", undefined].map(describeJson), [
    "an array",
    "null",
    "an object",
    "a number",
    "a string",
    "nothing",
  ]);
});
