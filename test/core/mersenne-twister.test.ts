import { createHash } from "node:crypto";
import test from "ava";
import { pythonRandom } from "../../src/core/mersenne-twister.js";

const shuffled = (length: number, seed: number): number[] => {
  const items = Array.from({ length }, (_, i) => i);
  pythonRandom(seed).shuffle(items);
  return items;
};

test("pythonRandom draws MT19937's numbers as Python seeds it", (t) => {
  const random = pythonRandom(58);
  t.deepEqual([random.bits(), random.bits(), random.bits()], [2494333050, 846782629, 883577855]);
});

test("pythonRandom shuffles as Python's random.shuffle", (t) => {
  t.deepEqual(shuffled(10, 58), [2, 4, 7, 0, 1, 6, 5, 8, 3, 9]);
  t.deepEqual(shuffled(7, 2 ** 40 + 5), [1, 3, 5, 0, 2, 6, 4]); // a seed of two words; CPython 3.11
});

test("pythonRandom holds the original's 120 rows out of commonsense_170k", (t) => {
  const order = shuffled(170420, 58);
  const last = order.slice(-120);
  t.deepEqual(order.slice(0, 5), [17327, 108631, 118538, 52093, 86661]);
  t.deepEqual(last.slice(0, 4), [6779, 56677, 150045, 53259]);
  t.deepEqual(last.slice(-2), [51683, 152242]);
  t.is(
    last.reduce((sum, row) => sum + row, 0),
    9257524,
  );
  t.regex(createHash("sha256").update(last.join(",")).digest("hex"), /^468e9509c3f05f8c/);
});

test("pythonRandom refuses a seed that a double does not hold", (t) => {
  t.throws(() => pythonRandom(1.5), { instanceOf: RangeError });
  t.throws(() => pythonRandom(2 ** 53), { instanceOf: RangeError });
});
