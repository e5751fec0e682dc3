#!/usr/bin/env node
import { existsSync } from "node:fs";
import { createRequire } from "node:module";

// Node opens a debugger's port at SIGUSR1 unless somebody listens, and loading takes a moment.
const early = () => process.exit(138);
process.on("SIGUSR1", early);

const oldestNode = 20;
const entry = new URL("../dist/cli/main.js", import.meta.url);

const hasPackages = () => {
  try {
    createRequire(import.meta.url).resolve("commander");
    return true;
  } catch {
    return false;
  }
};

/** What keeps the program from starting, and what to do about it; undefined if nothing does. */
const findObstacle = () => {
  const { node } = process.versions;
  if (Number(node.split(".")[0]) < oldestNode)
    return `found Node.js ${node}, expected ${oldestNode} or later\n  Install a newer one: https://nodejs.org`;
  if (!hasPackages())
    return 'found none of its packages, expected them in node_modules\n  Run "npm ci && npm run build" in its folder first';
  if (!existsSync(entry))
    return 'found no dist/cli/main.js, expected the compiled program\n  Run "npm run build" in its folder first';
  return undefined;
};

const obstacle = findObstacle();
if (obstacle === undefined) {
  const { main } = await import(entry.href);
  const ended = main(process.argv.slice(2));
  process.off("SIGUSR1", early);
  process.exitCode = await ended;
} else {
  process.stderr.write(`error: Cannot start hira: ${obstacle}\n`);
  process.exitCode = 2;
}
