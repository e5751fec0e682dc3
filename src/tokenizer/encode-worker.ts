import { parentPort, workerData } from "node:worker_threads";
import type { EncodedChunk } from "./token-table.js";
import { TokenTable } from "./token-table.js";
import { makeTokenizer } from "./tokenizer.js";
import type { TokenizerSource } from "./tokenizer.js";

// The thread behind encodeTexts: gets lists of texts, one at a time, and gives their ids back.
const tokenizer = makeTokenizer(workerData as TokenizerSource);
parentPort?.on("message", (texts: readonly string[]) => {
  const table = TokenTable.fromLists(texts.map((text) => tokenizer.encode(text)));
  const chunk: EncodedChunk = { ids: table.allIds(), lengths: table.lengths() };
  parentPort?.postMessage(chunk, [
    chunk.ids.buffer as ArrayBuffer,
    chunk.lengths.buffer as ArrayBuffer,
  ]);
});
