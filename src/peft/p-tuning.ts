import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { linearLayer, linearParameters } from "./encoder-layers.js";
import { normal } from "./init.js";
import { lstm, lstmParameters } from "./lstm.js";
import { defineVirtual, type ParameterSpec, type ParameterValues } from "./method.js";
import { defineOptions } from "./option-group.js";
import { encoderOptions, virtualTokenOptions } from "./options/virtual-tokens.js";

/** The encoders by peft's names. */
const encoderTypes = ["MLP", "LSTM"] as const;
type EncoderType = (typeof encoderTypes)[number];

const typeOptions = defineOptions({
  phase: "start",
  flags: {
    encoder_reparameterization_type: {
      ours: true,
      kind: "text",
      group: "Model and method",
      placeholder: "type",
      default: "MLP",
      choices: encoderTypes,
      help: "p-tuning: what makes the virtual tokens, three linear layers or a bidirectional LSTM with two behind it",
    },
    encoder_num_layers: {
      ours: true,
      kind: "integer",
      group: "Model and method",
      default: null,
      min: 1,
      help: "p-tuning: layers of the LSTM; if not given, 2",
    },
  },
  read(values, { faults }): { readonly encoderType: EncoderType; readonly encoderLayers: number } {
    const encoderType = values.encoder_reparameterization_type as EncoderType;
    const layers = values.encoder_num_layers;
    if (layers !== null && encoderType !== "LSTM")
      faults.push({
        what: "--encoder_num_layers",
        found: `${String(layers)} with --encoder_reparameterization_type ${encoderType}`,
        expected: "LSTM: the MLP always has three layers",
      });
    return { encoderType, encoderLayers: layers ?? 2 };
  },
});

/** What the flags say of the encoder. */
export type PromptEncoderOptions = (typeof typeOptions)["defaults"];

const LAYERS = ["encoder.0", "encoder.2", "encoder.4"] as const;
const LSTM = "encoder.lstm";

type Specs = Readonly<Record<string, ParameterSpec>>;

const mlpParameters = (width: number, hidden: number): Specs => {
  const [first, second, third] = LAYERS;
  return {
    ...linearParameters(first, width, hidden),
    ...linearParameters(second, hidden, hidden),
    ...linearParameters(third, hidden, width),
  };
};

const lstmEncoderParameters = (width: number, hidden: number, layers: number): Specs => {
  const [first, second] = LAYERS;
  return {
    ...lstmParameters(LSTM, { inputs: width, hidden, layers }),
    ...linearParameters(first, 2 * hidden, 2 * hidden),
    ...linearParameters(second, 2 * hidden, width),
  };
};

const mlpRows = (g: Graph, embedding: Value, parameters: ParameterValues): Value => {
  const [first, second, third] = LAYERS;
  const inner = g.relu(linearLayer(g, embedding, parameters, first));
  return linearLayer(g, g.relu(linearLayer(g, inner, parameters, second)), parameters, third);
};

const lstmRows = (
  g: Graph,
  embedding: Value,
  parameters: ParameterValues,
  { encoderLayers }: Pick<PromptEncoderOptions, "encoderLayers">,
): Value => {
  const [first, second] = LAYERS;
  const states = lstm(g, embedding, parameters, { name: LSTM, layers: encoderLayers });
  return linearLayer(g, g.relu(linearLayer(g, states, parameters, first)), parameters, second);
};

/**
 * p-tuning: embeddings of virtual tokens in front of the text's, made by an encoder from an embedding of their own, [virtual
 * tokens, hidden]. Files hold what the encoder makes.
 *
 * The encoder is three linear layers with ReLU between them (MLP), or a bidirectional LSTM over the virtual tokens and two
 * linear layers with ReLU between them (LSTM).
 * Source: Liu et al., "GPT Understands, Too", section 3.2; PromptEncoder of peft 0.21.2.
 */
export const pTuning = defineVirtual({
  kind: "virtual",
  name: "p-tuning",
  groups: [virtualTokenOptions, encoderOptions, typeOptions],
  onlyWith: { encoder_num_layers: { flag: "encoder_reparameterization_type", is: "LSTM" } },
  form: "embeddings",
  result: "embedding",
  parameters({ hiddenSize }, { virtualTokens, encoderHiddenSize, encoderType, encoderLayers }) {
    const hidden = encoderHiddenSize ?? hiddenSize;
    return {
      "encoder.embedding": {
        shape: [virtualTokens, hiddenSize],
        init: normal(1),
        trainable: true,
      },
      ...(encoderType === "LSTM"
        ? lstmEncoderParameters(hiddenSize, hidden, encoderLayers)
        : mlpParameters(hiddenSize, hidden)),
    };
  },
  rows(g, parameters, options) {
    const { "encoder.embedding": embedding } = parameters;
    if (!embedding) throw new RangeError("Cannot build a prompt: found no encoder");
    return options.encoderType === "LSTM"
      ? lstmRows(g, embedding, parameters, options)
      : mlpRows(g, embedding, parameters);
  },
});
