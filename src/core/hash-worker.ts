import { parentPort, workerData } from "node:worker_threads";
import { hashFile } from "./file-hash.js";

// The thread behind hashInBackground: hashes its files, and gives the SHA-256 of each back, in their order.
const hashes: string[] = [];
for (const path of workerData as readonly string[]) hashes.push((await hashFile(path)).sha256);
parentPort?.postMessage(hashes);
