import { readFile } from "node:fs/promises";
import { join } from "node:path";
import test from "ava";
import { makeTempFolder } from "../support/temp-folder.js";
import { tinyRunFlags, trainTiny, writeTinyRows } from "../support/tiny-runs.js";

test("config.yaml of a run does the run again, to the byte", async (t) => {
  const folder = await makeTempFolder(t);
  const flags = [...tinyRunFlags(await writeTinyRows(folder)), "--peft_type=hilora", "--seed=5"];
  const first = await trainTiny(t, join(folder, "first"), ...flags);
  const config = `--config=${join(first, "config.yaml")}`;
  const second = await trainTiny(t, join(folder, "second"), config);
  const adapter = (run: string): Promise<Buffer> =>
    readFile(join(run, "checkpoint-4", "adapter_model.safetensors"));
  t.deepEqual(await adapter(second), await adapter(first));
  const other = await trainTiny(t, join(folder, "third"), config, "--seed=6");
  t.notDeepEqual(await adapter(other), await adapter(first));
});
