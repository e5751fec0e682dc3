import test from "ava";
import { UserError } from "../../src/core/errors.js";
import { readGenerationConfig } from "../../src/models/generation-config.js";

test("readGenerationConfig reads every field that it knows, and null as absent (9.5)", (t) => {
  const { config } = readGenerationConfig(
    {
      ...{ do_sample: true, temperature: 0.6, top_p: 0.9, top_k: null, early_stopping: "never" },
      ...{ forced_eos_token_id: 2, stop_strings: "###", suppress_tokens: [1, -1] },
      ...{ sequence_bias: [[[4, 5], -2]], exponential_decay_length_penalty: [3, 1.1] },
      ...{ transformers_version: "4.41.1", _from_model_config: true, something: {} },
    },
    "generation_config.json",
  );
  t.deepEqual(config, {
    ...{ doSample: true, temperature: 0.6, topP: 0.9, earlyStopping: "never" },
    ...{ forcedEosTokenId: [2], stopStrings: ["###"], suppressTokens: [1, -1] },
    ...{ sequenceBias: [[[4, 5], -2]], exponentialDecayLengthPenalty: [3, 1.1] },
  });
});

test("readGenerationConfig lists every field of a wrong type, with the file (9.5)", (t) => {
  const wrong = {
    ...{ do_sample: "yes", num_beams: 0, max_new_tokens: 2.5, early_stopping: "maybe" },
    ...{ temperature: "0.6", top_k: true, repetition_penalty: [1.2], suppress_tokens: 5 },
    ...{ bad_words_ids: [3], sequence_bias: { 4: -2 }, forced_bos_token_id: "a" },
    ...{ exponential_decay_length_penalty: [1], stop_strings: [1], watermarking_config: 3 },
    ...{ penalty_alpha: "x", renormalize_logits: 1 },
  };
  const error = t.throws(() => readGenerationConfig(wrong, "m/generation_config.json"), {
    instanceOf: UserError,
  });
  const lines = error.message.split("\n");
  t.is(lines[0], "Cannot load m/generation_config.json: found 16 faults");
  for (const [name, value] of Object.entries(wrong))
    t.true(
      lines.some((line) =>
        line.startsWith(`  "${name}": found ${JSON.stringify(value)}, expected`),
      ),
      name,
    );
});
