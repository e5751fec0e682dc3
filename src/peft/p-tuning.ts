import type { Graph } from "../graph/graph.js";
import type { Value } from "../graph/op.js";
import { linearLayer, linearParameters } from "./encoder-layers.js";
import { normal } from "./init.js";
import { lstm, lstmParameters } from "./lstm.js";
import type {
  MethodOptions,
  ParameterSpec,
  ParameterValues,
  VirtualTokenMethod,
} from "./method.js";

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
  { encoderLayers }: Pick<MethodOptions, "encoderLayers">,
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
export const pTuning: VirtualTokenMethod = {
  kind: "virtual",
  name: "p-tuning",
  reads: {
    virtualTokens: true,
    encoderHiddenSize: true,
    encoderType: true,
    encoderLayers: { option: "encoderType", is: "LSTM" },
    masksPadding: true,
  },
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
};
