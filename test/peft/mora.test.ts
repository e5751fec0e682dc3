import test from "ava";
import { mergeAdapter } from "../../src/decode/merge-adapter.js";
import { createLinearAdapter } from "../../src/peft/adapter.js";
import { mora, moraSide } from "../../src/peft/mora.js";
import { selectTargets } from "../../src/peft/targets.js";
import { drawnStore, largestDifference, loadTinyBase } from "../support/adapted-model.js";

// get_delta_weight of kongds/MoRA builds the update column by column.
test("MoRA of type 1 adds M's columns to those of W0 in turn, and its rows in turn", async (t) => {
  const model = await loadTinyBase();
  const targets = selectTargets(model.model.linears, "q_proj,down_proj,k_proj");
  const options = { rank: 2, moraType: 1 } as const;
  const adapter = createLinearAdapter(mora, options, targets);
  const { values } = drawnStore(adapter, model);
  const merged = await mergeAdapter(model.weights, adapter, values);
  for (const module of targets) {
    const { path, inFeatures, outFeatures } = module;
    const side = moraSide(module, options);
    const M = values.get(`${path}.M`)?.data as Float32Array;
    const expected = Float64Array.from(model.weights.tensor(`${path}.weight`).data as Float32Array);
    const columns = Math.ceil(inFeatures / side) * side; // the last chunk is filled up from the start
    for (let row = 0; row < outFeatures; row++)
      for (let i = 0; i < columns; i++)
        expected[row * inFeatures + (i % inFeatures)]! +=
          M[(row % side) * side + (i % side)] ?? NaN;
    const found = merged.tensor(`${path}.weight`).data as Float32Array;
    t.true(largestDifference(found, expected) < 1e-5, path);
  }
});

test("MoRA's M has about as many elements as LoRA's matrices, and an even side for rotation", (t) => {
  const module = { inFeatures: 576, outFeatures: 192 };
  t.is(moraSide(module, { rank: 5, moraType: 1 }), 62);
  t.is(moraSide(module, { rank: 16, moraType: 1 }), 111);
  t.is(moraSide(module, { rank: 16, moraType: 6 }), 110);
});
