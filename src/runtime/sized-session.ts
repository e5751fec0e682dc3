import { dimTerms, evaluateDim, type Dim, type Shape } from "../core/dim.js";
import { elementOfName, sizesOfName } from "../graph/passes/sizes-as-inputs.js";
import type { RunOptions, Session } from "./session.js";
import { Tensor } from "./tensor.js";

/** Shapes by the name of an input, in which names are sizes that are equal wherever they stand. */
export type InputShapes = ReadonlyMap<string, readonly (number | string | null)[]>;

const namesOfDim = (dim: Dim): readonly string[] => dimTerms(dim).flatMap(([, names]) => names);

/** A session of a graph that sizesAsInputs has made: it fills in the sizes, and shows the other inputs alone. */
export class SizedSession implements Session {
  readonly inputNames: readonly string[];
  readonly outputNames: readonly string[];
  readonly #session: Session;
  readonly #shapes: InputShapes;
  readonly #sizes: readonly { readonly name: string; readonly dims: readonly Dim[] }[];
  /** Names of sizes that an input's elements say. */
  readonly #elements: readonly string[];

  constructor(session: Session, shapes: InputShapes) {
    this.#session = session;
    this.#shapes = shapes;
    this.#sizes = session.inputNames.flatMap((name) => {
      const dims = sizesOfName(name);
      return dims ? [{ name, dims }] : [];
    });
    const names = this.#sizes.flatMap(({ dims }) => dims.flatMap(namesOfDim));
    this.#elements = [...new Set(names)].filter((name) => elementOfName(name) !== undefined);
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
    for (const name of this.#elements) {
      const { input, index } = elementOfName(name) ?? { input: "", index: 0 };
      values[name] = Number(inputs[input]?.data[index] ?? 0);
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
