import test from "ava";
import { listRows, nameRow } from "../../src/core/row-names.js";

test("rows are named from 1, ten of them, and the rest is counted (9.35)", (t) => {
  t.is(nameRow(0), "row 1");
  t.is(listRows([3]), "row 4");
  t.is(listRows([3, 4]), "rows 4, 5");
  t.is(
    listRows(Array.from({ length: 12 }, (_, i) => i)),
    "rows 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more",
  );
});
