import { Worker } from "node:worker_threads";
import type { WorkerOptions } from "node:worker_threads";

/**
 * Starts a worker thread from a module given by its compiled name, e.g. `new URL("./encode-worker.js", import.meta.url)`.
 *
 * In the source tree, where tests run, that module is a .ts file. Node 20 does not hand tsx's loader on to workers, so
 * the worker registers it itself; a compiled program never comes there.
 */
export const startWorker = (module: URL, options: WorkerOptions = {}): Worker => {
  if (!import.meta.url.endsWith(".ts")) return new Worker(module, options);
  const source = module.href.replace(/\.js$/, ".ts");
  const loader = import.meta.resolve("tsx/esm/api");
  const code =
    `import(${JSON.stringify(loader)})` +
    `.then(({ register }) => { register(); return import(${JSON.stringify(source)}); })`;
  return new Worker(code, { ...options, eval: true });
};
