import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Candidates, DecodeEngine, StepInput } from "../../src/decode/step-engine.js";

interface Layer {
  readonly keys: readonly Float64Array[];
  readonly values: readonly Float64Array[];
}

interface Beam {
  readonly position: number;
  readonly layers: readonly Layer[];
}

interface PlainConfig {
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly vocab_size: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
}

/** Reads float32 tensors of one safetensors file, widened to float64. */
const readPlainTensors = (path: string): ReadonlyMap<string, Float64Array> => {
  const bytes = readFileSync(path);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerBytes)) as Record<
    string,
    { dtype: string; data_offsets: [number, number] }
  >;
  const tensors = new Map<string, Float64Array>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [start, end] = entry.data_offsets;
    const data = bytes.buffer.slice(
      bytes.byteOffset + 8 + headerBytes + start,
      bytes.byteOffset + 8 + headerBytes + end,
    );
    tensors.set(name, Float64Array.from(new Float32Array(data)));
  }
  return tensors;
};

/**
 * A Llama in plain float64 loops, one token at a time: slow, and independent of graph and runtime.
 *
 * Good for the 2-layer model of the goldens; reads its config.json and model.safetensors.
 */
export const plainLlama = (folder: string): DecodeEngine => {
  const config = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as PlainConfig;
  const tensors = readPlainTensors(join(folder, "model.safetensors"));
  const heads = config.num_attention_heads;
  const kvHeads = config.num_key_value_heads;
  const headDim = config.head_dim;
  const hidden = config.hidden_size;

  const weight = (name: string): Float64Array => {
    const tensor = tensors.get(name);
    if (!tensor) throw new Error(`no tensor ${name}`);
    return tensor;
  };
  const linear = (x: Float64Array, name: string): Float64Array => {
    const w = weight(name); // [out, in]
    const out = new Float64Array(w.length / x.length);
    for (let o = 0; o < out.length; o++) {
      let sum = 0;
      for (let i = 0; i < x.length; i++) sum += w[o * x.length + i]! * x[i]!;
      out[o] = sum;
    }
    return out;
  };
  const norm = (x: Float64Array, name: string): Float64Array => {
    const gain = weight(name);
    const square = x.reduce((sum, value) => sum + value * value, 0) / x.length;
    const scale = 1 / Math.sqrt(square + config.rms_norm_eps);
    return x.map((value, i) => value * scale * gain[i]!);
  };
  const rotate = (x: Float64Array, position: number): Float64Array => {
    const out = new Float64Array(x.length);
    const half = headDim / 2;
    for (let start = 0; start < x.length; start += headDim) {
      for (let i = 0; i < half; i++) {
        const angle = position / config.rope_theta ** ((2 * i) / headDim);
        const [a, b] = [x[start + i]!, x[start + half + i]!];
        out[start + i] = a * Math.cos(angle) - b * Math.sin(angle);
        out[start + half + i] = b * Math.cos(angle) + a * Math.sin(angle);
      }
    }
    return out;
  };
  const attend = (q: Float64Array, { keys, values }: Layer): Float64Array => {
    const out = new Float64Array(q.length);
    for (let head = 0; head < heads; head++) {
      const kv = Math.floor((head * kvHeads) / heads) * headDim;
      const scores = keys.map((key) => {
        let sum = 0;
        for (let i = 0; i < headDim; i++) sum += q[head * headDim + i]! * key[kv + i]!;
        return sum / Math.sqrt(headDim);
      });
      const best = Math.max(...scores);
      const exps = scores.map((score) => Math.exp(score - best));
      const total = exps.reduce((sum, e) => sum + e, 0);
      values.forEach((value, t) => {
        for (let i = 0; i < headDim; i++)
          out[head * headDim + i]! += (exps[t]! / total) * value[kv + i]!;
      });
    }
    return out;
  };
  const add = (a: Float64Array, b: Float64Array): Float64Array => a.map((v, i) => v + b[i]!);

  const feed = (beam: Beam, token: number): { beam: Beam; x: Float64Array } => {
    let x: Float64Array = weight("model.embed_tokens.weight").slice(
      token * hidden,
      (token + 1) * hidden,
    );
    const layers: Layer[] = [];
    for (let i = 0; i < config.num_hidden_layers; i++) {
      const at = `model.layers.${String(i)}.`;
      const h = norm(x, `${at}input_layernorm.weight`);
      const past = beam.layers[i] ?? { keys: [], values: [] };
      const layer = {
        keys: [...past.keys, rotate(linear(h, `${at}self_attn.k_proj.weight`), beam.position)],
        values: [...past.values, linear(h, `${at}self_attn.v_proj.weight`)],
      };
      layers.push(layer);
      const q = rotate(linear(h, `${at}self_attn.q_proj.weight`), beam.position);
      x = add(x, linear(attend(q, layer), `${at}self_attn.o_proj.weight`));
      const m = norm(x, `${at}post_attention_layernorm.weight`);
      const up = linear(m, `${at}mlp.up_proj.weight`);
      const gate = linear(m, `${at}mlp.gate_proj.weight`);
      const inner = gate.map((g, j) => (g / (1 + Math.exp(-g))) * up[j]!);
      x = add(x, linear(inner, `${at}mlp.down_proj.weight`));
    }
    return { beam: { position: beam.position + 1, layers }, x };
  };
  const best = (states: readonly Float64Array[], beams: number, width: number): Candidates => {
    const logProbs = new Float32Array(states.length * width);
    const ids = new Int32Array(states.length * width);
    const normalizers = new Float32Array(states.length);
    states.forEach((x, row) => {
      const logits = linear(norm(x, "model.norm.weight"), "lm_head.weight");
      const most = Math.max(...logits);
      const total = logits.reduce((sum, value) => sum + Math.exp(value - most), 0);
      normalizers[row] = most + Math.log(total);
      const order = [...logits.keys()].sort((a, b) => logits[b]! - logits[a]!);
      for (let i = 0; i < width; i++) {
        ids[row * width + i] = order[i]!;
        logProbs[row * width + i] = logits[order[i]!]! - most - Math.log(total);
      }
    });
    return { beams, width, logProbs, ids, normalizers };
  };

  return {
    vocabularySize: config.vocab_size,
    start(prompts, { numBeams, width }) {
      const last: Float64Array[] = [];
      let live: Beam[][] = prompts.map(({ ids }) => {
        let beam: Beam = { position: 0, layers: [] };
        let x: Float64Array = new Float64Array(hidden);
        for (const id of ids) ({ beam, x } = feed(beam, id));
        last.push(x);
        return Array.from({ length: numBeams }, () => beam);
      });
      const run = {
        step({ tokens, parents, width: k }: StepInput) {
          const states: Float64Array[] = [];
          live = live.map((beams, p) =>
            beams.map((_, b) => {
              const at = p * numBeams + b;
              const fed = feed(beams[parents[at]!]!, tokens[at]!);
              states.push(fed.x);
              return fed.beam;
            }),
          );
          return Promise.resolve(best(states, numBeams, k));
        },
        keep(places: readonly number[]) {
          live = places.map((place) => live[place]!);
        },
        dispose() {
          live = [];
        },
      };
      return Promise.resolve({ run, candidates: best(last, 1, width) });
    },
  };
};
