/** The program as a process of its own, for tests that send it signals: the command line follows. */
import { main } from "../../src/cli/main.js";

process.exitCode = await main(process.argv.slice(2));
