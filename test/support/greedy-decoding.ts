import type { ExecutionContext } from "ava";
import type { LiveAdapter } from "../../src/decode/decode-graph.js";
import { generate } from "../../src/decode/generate.js";
import { openEngine } from "../../src/decode/open-engine.js";
import { defaultDecodeSettings } from "../../src/decode/settings.js";
import { logitsOf, type TinyModel } from "./adapted-model.js";

/**
 * Checks that greedy decoding takes the token of the largest logit at each step, with as much memory for merged weights.
 *
 * @param ids the prompt
 * @param tokens how many new tokens are looked at
 */
export const checkGreedyDecoding = async (
  t: ExecutionContext,
  { model, adapted }: { readonly model: TinyModel; readonly adapted: LiveAdapter },
  {
    ids,
    tokens,
    memoryBytes,
  }: {
    readonly ids: readonly number[];
    readonly tokens: number;
    readonly memoryBytes: number;
  },
): Promise<void> => {
  const maxPositions = ids.length + tokens + 1;
  const engine = await openEngine({ ...model, adapted, maxPositions, memoryBytes });
  const [row] = await generate({
    engine,
    prompts: [{ ids }],
    settings: { ...defaultDecodeSettings, maxNewTokens: tokens, eosIds: [], padId: 3 },
    batch: 1,
  });
  engine.dispose();
  const text = [...ids, ...(row?.[0]?.tokens ?? [])];
  t.is(text.length, ids.length + tokens);
  const logits = await logitsOf(model, text, adapted);
  for (let at = ids.length; at < text.length; at++) {
    const scores = Array.from(logits.subarray((at - 1) * 16, at * 16));
    t.is(text[at], scores.indexOf(Math.max(...scores)), `memory ${String(memoryBytes)}`);
  }
};
