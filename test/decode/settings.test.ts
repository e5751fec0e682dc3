import test from "ava";
import { checkDecodeSettings, defaultDecodeSettings } from "../../src/decode/settings.js";
import { UserError } from "../../src/core/errors.js";

const settings = { ...defaultDecodeSettings, eosIds: [2], padId: 0 };

test("checkDecodeSettings names every fault at once", (t) => {
  const error = t.throws(
    () => {
      checkDecodeSettings({ ...settings, numBeams: 0, temperature: 0, topP: 2, maxNewTokens: 1.5 });
    },
    { instanceOf: UserError },
  );
  t.deepEqual(error?.message.split("\n"), [
    "Cannot decode with numBeams: found 0, expected a whole number of at least 1",
    "Cannot decode with maxNewTokens: found 1.5, expected a whole number of at least 1",
    "Cannot decode with temperature: found 0, expected a number above 0",
    "Cannot decode with topP: found 2, expected a number from 0 to 1",
  ]);
});

test("checkDecodeSettings refuses more sequences than there are", (t) => {
  const check = (change: object) => () => {
    checkDecodeSettings({ ...settings, ...change });
  };
  t.throws(check({ numBeams: 2, numReturnSequences: 3 }), { message: /found 3, expected at most/ });
  t.throws(check({ numReturnSequences: 2 }), { message: /greedy decoding has one result/ });
  t.notThrows(check({ numReturnSequences: 2, doSample: true }));
  t.notThrows(check({ numBeams: 2, numReturnSequences: 2 }));
});
