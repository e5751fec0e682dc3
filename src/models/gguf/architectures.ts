import type { GgufArchitecture } from "./architecture.js";
import { decoderArchitecture } from "./decoder-architecture.js";

/** Mistral's files are Llama's, with a window where there is one. Source: LlamaModel of convert_hf_to_gguf.py. */
const llama = decoderArchitecture({
  name: "llama",
  modelTypes: ["llama", "mistral"],
  paired: true,
  windows: true,
  own: ({ hasBias, window }) => ({
    ...(window === undefined
      ? { architectures: ["LlamaForCausalLM"], model_type: "llama" }
      : {
          architectures: ["MistralForCausalLM"],
          model_type: "mistral",
          sliding_window: window,
        }),
    attention_bias: hasBias("attn_q"),
    mlp_bias: hasBias("ffn_gate"),
  }),
});

/** Source: Qwen2Model of convert_hf_to_gguf.py. */
const qwen2 = decoderArchitecture({
  name: "qwen2",
  modelTypes: ["qwen2"],
  paired: false,
  windows: false,
  own: () => ({ architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" }),
});

/** Source: Qwen3Model of convert_hf_to_gguf.py. */
const qwen3 = decoderArchitecture({
  name: "qwen3",
  modelTypes: ["qwen3"],
  paired: false,
  windows: false,
  own: ({ hasBias }) => ({
    architectures: ["Qwen3ForCausalLM"],
    model_type: "qwen3",
    attention_bias: hasBias("attn_q"),
  }),
});

/** What can be read and written, by `general.architecture`. */
export const ggufArchitectures: ReadonlyMap<string, GgufArchitecture> = new Map([
  ["llama", llama],
  ["qwen2", qwen2],
  ["qwen3", qwen3],
]);
