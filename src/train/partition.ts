import { elementCount } from "../core/dtype.js";
import type { AdapterParameter } from "../peft/adapter.js";

/** Parameters that are shared out, gathered and reduced together: those of a layer that the optimizer treats alike. */
export interface Bucket {
  readonly decays: boolean;
  /** The parameters and where in the bucket each begins, in elements. */
  readonly members: readonly { readonly spec: AdapterParameter; readonly offset: number }[];
  /** Elements with the zeros at the end that make it as many for every process. */
  readonly length: number;
  /** Elements of one process's share. */
  readonly share: number;
  /** Where the bucket begins in a buffer of all buckets, in elements. */
  readonly at: number;
  /** Where a process's share begins in a buffer of its shares of all buckets. */
  readonly ownAt: number;
}

/** How the parameters that train are shared out among processes. */
export interface Partition {
  readonly buckets: readonly Bucket[];
  /** Elements of all buckets. */
  readonly length: number;
  /** Elements of one process's shares. */
  readonly ownLength: number;
}

/** The layer that a parameter's name tells, up to its first number: "model.layers.3"; without one, each name is its own. */
const layerOf = (name: string): string => /^.*?\.\d+(?=\.)/.exec(name)?.[0] ?? name;

/**
 * Cuts the trainable parameters into a bucket a layer, and each bucket into `size` equal shares, one for each process.
 *
 * Source: Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", section 5.
 */
export const partition = (parameters: readonly AdapterParameter[], size: number): Partition => {
  const groups = new Map<string, AdapterParameter[]>();
  for (const spec of parameters) {
    if (!spec.trainable) continue;
    const key = `${String(spec.decays)} ${layerOf(spec.name)}`;
    groups.set(key, [...(groups.get(key) ?? []), spec]);
  }
  let [at, ownAt] = [0, 0];
  const buckets = [...groups.values()].map((specs): Bucket => {
    let end = 0;
    const members = specs.map((spec) => {
      const offset = end;
      end += elementCount(spec.shape);
      return { spec, offset };
    });
    const share = Math.ceil(end / size);
    const bucket = { members, length: share * size, share, at, ownAt };
    at += bucket.length;
    ownAt += share;
    return { ...bucket, decays: specs[0]?.decays ?? false };
  });
  return { buckets, length: at, ownLength: ownAt };
};
