// Continue prompts greedily with llama.cpp, for comparison with `hira generate`.
//
// usage: node llama_cpp_greedy.mjs MODEL.gguf PROMPTS.jsonl OUT.jsonl TOKENS [ADAPTER.gguf]
//
// PROMPTS has a `prompt` a line. OUT gets `input_ids`, `new_tokens` and `text` a line; its input_ids are an --input of
// `hira generate`. Needs node-llama-cpp (3.22.1 was used), installed where this file is copied to: it is no dependency.
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { getLlama } from "node-llama-cpp";

const [, , modelPath, prompts, out, count, adapter] = process.argv;
const llama = await getLlama({ build: "never", gpu: false, logLevel: "warn" });
const model = await llama.loadModel({ modelPath });
const lora = adapter === undefined ? {} : { lora: { adapters: [{ filePath: adapter }] } };
// One thread: llama.cpp's wait for each other in a loop, which stands still where others compute too.
const context = await model.createContext({ contextSize: 512, threads: 1, ...lora });
const sequence = context.getSequence();
const lines = [];
for (const line of readFileSync(prompts, "utf8").trim().split("\n")) {
  const ids = model.tokenize(JSON.parse(line).prompt);
  await sequence.clearHistory();
  const made = [];
  for await (const token of sequence.evaluate(ids, { temperature: 0, yieldEogToken: true })) {
    made.push(token);
    if (made.length >= Number(count) || model.isEogToken(token)) break;
  }
  lines.push(JSON.stringify({ input_ids: ids, new_tokens: made, text: model.detokenize(made) }));
}
writeFileSync(out, `${lines.join("\n")}\n`);
process.exit(0);
