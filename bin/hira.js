#!/usr/bin/env node
// Node opens a debugger's port at SIGUSR1 unless somebody listens, and loading takes a moment.
const early = () => process.exit(138);
process.on("SIGUSR1", early);
const { main } = await import("../dist/cli/main.js");
const ended = main(process.argv.slice(2));
process.off("SIGUSR1", early);
process.exitCode = await ended;
