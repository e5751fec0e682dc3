/**
 * Reads the adapters that scripts/reference/peft_adapters.py made and writes them with hira, for `peft_adapters.py check`.
 *
 * usage: npx tsx scripts/reference/rewrite-adapters.ts test/fixtures/peft OURS
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { loadModelFolder } from "../../src/models/model-folder.js";
import { adapterBaseOf } from "../../src/peft/build-adapter.js";
import { readAdapter, writeAdapter } from "../../src/peft/adapter-files.js";
import { baseOfFixture } from "../../test/support/adapter-base.js";

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) throw new Error("usage: rewrite-adapters.ts FROM TO");

for (const entry of await readdir(from, { withFileTypes: true })) {
  if (!entry.isDirectory() || entry.name.startsWith("base")) continue;
  const model = baseOfFixture(entry.name);
  const base = adapterBaseOf((await loadModelFolder(join(from, model))).model);
  const { adapter, values } = await readAdapter(join(from, entry.name), base);
  const data = new Map([...values].map(([name, value]) => [name, value.data]));
  await writeAdapter(join(to, entry.name), adapter, base, data);
}
