import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { placeOfAnswers } from "../../src/runs/answers-place.js";
import { makeTempFolder } from "../support/temp-folder.js";

test("answers of an adapter in the Hub's cache stand below the output folder, never in the cache", async (t) => {
  const folder = await makeTempFolder(t);
  const ckpt = join(folder, "hub", "models--org--adapter", "snapshots", "93efa2f0");
  await mkdir(ckpt, { recursive: true });
  await writeFile(join(ckpt, "adapter_config.json"), "{}");
  const outputFolder = join(folder, "out");
  for (const compat of [new Set<never>(), new Set(["names"] as const)]) {
    const place = await placeOfAnswers({
      ...{ ckpt, outputFolder, outputFolderIsAsked: false, outputFile: undefined, compat },
    });
    t.is(place.folder, join(outputFolder, "adapter"));
    t.true(place.isElsewhere);
  }
});
