import test from "ava";
import { UserError } from "../../src/core/errors.js";
import {
  followGenerationConfig,
  type FollowedSettings,
  type GenerationField,
} from "../../src/decode/generation-settings.js";
import { defaultDecodeSettings, type DecodeSettings } from "../../src/decode/settings.js";
import { readGenerationConfig } from "../../src/models/generation-config.js";

const own = { ...defaultDecodeSettings, eosIds: [2], padId: 0 };
const follow = (
  file: object,
  given: readonly GenerationField[] = [],
  changes: Partial<DecodeSettings> = {},
  pinned: readonly GenerationField[] = [],
): FollowedSettings =>
  followGenerationConfig({ ...own, ...changes }, readGenerationConfig({ ...file }, "m/g.json"), {
    given: new Set(given),
    pinned: new Set(pinned),
    vocabularySize: 50,
  });

test("followGenerationConfig takes what nobody has given (9.5)", (t) => {
  const file = { num_beams: 4, repetition_penalty: 1.2, length_penalty: 0.5, max_new_tokens: 7 };
  const { settings, applied } = follow(file, ["lengthPenalty"], { lengthPenalty: 2 });
  t.like(settings, {
    numBeams: 4,
    repetitionPenalty: 1.2,
    lengthPenalty: 2,
    maxNewTokens: 7,
  });
  t.deepEqual(applied, ["num_beams 4", "max_new_tokens 7", "repetition_penalty 1.2"]);
});

test("followGenerationConfig says nothing of values that change nothing (9.5)", (t) => {
  const file = {
    ...{ do_sample: false, num_beams: 1, temperature: 0.6, top_p: 0.9, min_p: 0.1 },
    ...{ repetition_penalty: 1, no_repeat_ngram_size: 0, length_penalty: 2, early_stopping: true },
    ...{ suppress_tokens: [], min_length: 0, typical_p: 1, epsilon_cutoff: 0, top_k: null },
    ...{ renormalize_logits: true, remove_invalid_values: false, transformers_version: "5.23.0" },
  };
  const found = follow(file);
  t.deepEqual([found.applied, found.left], [[], []]);
  t.deepEqual(found.settings, own);
});

test("followGenerationConfig cuts long lists in what it says (9.5)", (t) => {
  const ids = Array.from({ length: 40 }, (_, id) => id);
  t.deepEqual(follow({ suppress_tokens: ids }).applied, [
    `suppress_tokens ${JSON.stringify(ids).slice(0, 40)}... (40 in all)`,
  ]);
});

test("followGenerationConfig lets max_new_tokens stand over max_length, and min_new_tokens over min_length (9.5)", (t) => {
  const lengths = { max_length: 30, min_length: 20 };
  t.like(follow(lengths).settings, { maxLength: 30, maxNewTokens: 30, minLength: 20 });
  const both = follow({ ...lengths, max_new_tokens: 5, min_new_tokens: 3 }).settings;
  t.like(both, { maxNewTokens: 5, minNewTokens: 3 });
  t.deepEqual([both.maxLength, both.minLength], [undefined, undefined]);
  const typed = follow(lengths, ["maxNewTokens"], { maxNewTokens: 9 }).settings;
  t.deepEqual([typed.maxNewTokens, typed.maxLength], [9, undefined]);
});

test("followGenerationConfig draws as transformers does where the file asks for it (9.5)", (t) => {
  const flags = { temperature: 0.1, topK: 40, topP: 0.75 };
  t.like(follow({ do_sample: true, top_p: 0.9 }, [], flags).settings, {
    ...{ doSample: true, temperature: 1, topK: 50, topP: 0.9 },
  });
  t.deepEqual(follow({ do_sample: true, top_p: 0.9 }, [], flags).applied, [
    ...["do_sample true", "top_p 0.9"],
    ...["temperature 1 (transformers' default)", "top_k 50 (transformers' default)"],
  ]);
  t.like(follow({ do_sample: true }, ["topK"], flags).settings, { temperature: 1, topK: 40 });
  // Somebody asks for it: what the file does not say is the flags' own.
  const asked = { ...flags, doSample: true };
  t.like(follow({ temperature: 0.6 }, ["doSample"], asked).settings, {
    ...{ temperature: 0.6, topK: 40, topP: 0.75 },
  });
  t.like(follow({ do_sample: true, temperature: 0.6 }, ["doSample"]).settings, {
    ...{ doSample: false, temperature: 1 },
  });
});

test("followGenerationConfig names what is not done, where it would have had an effect (9.5)", (t) => {
  const left = (file: object, ...more: [GenerationField[]?, Partial<DecodeSettings>?]) =>
    follow(file, ...more).left;
  const groups = { num_beam_groups: 2, diversity_penalty: 0.5 };
  t.deepEqual(left(groups), []);
  t.deepEqual(left({ ...groups, num_beams: 4 }), ["num_beam_groups", "diversity_penalty"]);
  t.deepEqual(left({ penalty_alpha: 0.6, top_k: 4 }), ["penalty_alpha"]);
  t.deepEqual(left({ penalty_alpha: 0.6 }), ["penalty_alpha"]);
  t.deepEqual(left({ penalty_alpha: 0.6, top_k: 1 }), []);
  t.deepEqual(left({ penalty_alpha: 0.6, top_k: 4, do_sample: true }), []);
  t.deepEqual(left({ penalty_alpha: 0.6, num_beams: 2 }), []);
  t.deepEqual(left({ dola_layers: "high" }), ["dola_layers"]);
  t.deepEqual(left({ watermarking_config: { bias: 2 }, guidance_scale: 1.5, max_time: 2 }), [
    ...["watermarking_config", "guidance_scale", "max_time"],
  ]);
  t.deepEqual(left({ watermarking_config: null, guidance_scale: 1, token_healing: false }), []);
  t.deepEqual(left({ force_words_ids: [[1]], use_cache: false, cache_implementation: "static" }), [
    "force_words_ids",
  ]);
});

test("followGenerationConfig names what is pinned and would be otherwise (9.5)", (t) => {
  const pinned: GenerationField[] = ["numReturnSequences", "numBeams"];
  const { left, applied, settings } = follow(
    { num_return_sequences: 3, num_beams: 1 },
    [],
    {},
    pinned,
  );
  t.deepEqual([left, applied, settings], [["num_return_sequences"], [], own]);
});

test("followGenerationConfig needs an eos token for what speaks of it (9.5)", (t) => {
  const file = { min_new_tokens: 3, exponential_decay_length_penalty: [2, 1.5] };
  t.deepEqual(follow(file, [], { eosIds: [] }).applied, []);
  t.deepEqual(follow(file).applied, [
    "min_new_tokens 3",
    "exponential_decay_length_penalty [2,1.5]",
  ]);
});

test("followGenerationConfig lists every value out of its range, with the file (9.5)", (t) => {
  const error = t.throws(
    () =>
      follow({
        ...{ do_sample: true, temperature: 0, top_k: -1, min_p: 2, repetition_penalty: 0 },
        ...{ bad_words_ids: [[4], [7, 50]], forced_eos_token_id: 2, suppress_tokens: [2] },
      }),
    { instanceOf: UserError },
  );
  t.deepEqual(error?.message.split("\n"), [
    "Cannot decode as m/g.json says: found 6 faults",
    '  "temperature": found 0, expected a number above 0',
    '  "top_k": found -1, expected a whole number of at least 0',
    '  "min_p": found 2, expected a number from 0 to 1',
    '  "repetition_penalty": found 0, expected a number above 0',
    '  "bad_words_ids": found [[4],[7,50]], expected token ids below the vocabulary\'s 50',
    '  "forced_eos_token_id": found [2], expected a token that suppress_tokens does not forbid',
  ]);
  t.notThrows(() => follow({ temperature: 0, top_k: -1 }), "nothing is drawn");
  t.throws(() => follow({ num_return_sequences: 2 }), { message: /m\/g\.json.*found 2/ });
});
