import { evaluateDim, type Dim, type Shape } from "../core/dim.js";
import { sizesOfName } from "../graph/passes/sizes-as-inputs.js";
import type { RunOptions, Session } from "./session.js";
import { Tensor } from "./tensor.js";

/** Shapes by the name of an input, in which names are sizes that are equal wherever they stand. */
export type InputShapes = ReadonlyMap<string, readonly (number | string | null)[]>;

/** A session of a graph that sizesAsInputs has made: it fills in the sizes, and shows the other inputs alone. */
export class SizedSession implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #session: Session;
  readonly #shapes: InputShapes;
  readonly #sizes: readonly { readonly name: string; readonly dims: readonly Dim[] }[];

  constructor(session: Session, shapes: InputShapes) {
    this.#session = session;
    this.#shapes = shapes;
    this.#sizes = session.inputNames.flatMap((name) => {
      const dims = sizesOfName(name);
      return dims ? [{ name, dims }] : [];
    });
    this.inputNames = session.inputNames.filter((name) => sizesOfName(name) === undefined);
    this.outputNames = session.outputNames;
  }

  async run(
    inputs: Readonly<Record<string, Tensor>>,
    outputs?: Readonly<Record<string, Tensor>>,
    options?: RunOptions,
  ): Promise<Record<string, Tensor>> {
    const values: Record<string, number> = {};
    for (const name of this.inputNames) {
      const shape: Shape = inputs[name]?.shape ?? [];
      this.#shapes.get(name)?.forEach((dim, i) => {
        if (typeof dim === "string") values[dim] = Number(shape[i] ?? 0);
      });
    }
    const sizes = this.#sizes.map(({ name, dims }) => {
      const data = BigInt64Array.from(dims, (dim) => BigInt(evaluateDim(dim, values)));
      return [name, Tensor.fromArray("int64", [dims.length], data)] as const;
    });
    try {
      return await this.#session.run({ ...inputs, ...Object.fromEntries(sizes) }, outputs, options);
    } finally {
      for (const [, tensor] of sizes) tensor.dispose();
    }
  }

  dispose(): void {
    this.#session.dispose();
  }
}
