import { JsonFields, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { readActivation } from "../blocks/activations.js";
import { encoderModel, type EncoderConfig, type EncoderFamily } from "../blocks/encoder.js";
import { defineFamily } from "../family.js";
import type { LinearModule } from "../model.js";
import { readTokenIds } from "../token-ids.js";

/** Source: DistilBertConfig of transformers 5.24. */
const readConfig = (raw: JsonObject, faults: string[]): EncoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const hiddenSize = fields.optional("dim", size, 768);
  const heads = fields.optional("n_heads", size, 12);
  if (hiddenSize % heads > 0) fields.fault("dim", `a multiple of n_heads (${String(heads)})`);
  return {
    modelType: "distilbert",
    vocabSize: fields.optional("vocab_size", size, 30522),
    hiddenSize,
    intermediateSize: fields.optional("hidden_dim", size, 3072),
    layers: fields.optional("n_layers", size, 6),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    maxPositionEmbeddings: fields.optional("max_position_embeddings", size, 512),
    tokenTypes: 0,
    epsilon: 1e-12,
    activation: readActivation(fields, "activation", "gelu"),
    dropout: fields.optional("dropout", share, 0.1),
    attentionDropout: fields.optional("attention_dropout", share, 0.1),
    classifierDropout: fields.optional("seq_classif_dropout", share, 0.2),
    bosId: readTokenIds(raw, "bos_token_id", faults)[0],
    eosIds: readTokenIds(raw, "eos_token_id", faults),
    padId: readTokenIds(raw, "pad_token_id", faults, [0])[0],
  };
};

const family: EncoderFamily = {
  names: {
    prefix: "distilbert.",
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    norm: "embeddings.LayerNorm",
    layer: "transformer.layer",
    ofLayer: {
      query: "attention.q_lin",
      key: "attention.k_lin",
      value: "attention.v_lin",
      output: "attention.out_lin",
      attentionNorm: "sa_layer_norm",
      inner: "ffn.lin1",
      outer: "ffn.lin2",
      norm: "output_layer_norm",
    },
  },
  dropsAttended: false,
  classifier({ hiddenSize, classifierDropout }) {
    const linears = (labels: number): readonly [LinearModule, LinearModule] => [
      { path: "pre_classifier", inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true },
      { path: "classifier", inFeatures: hiddenSize, outFeatures: labels, bias: true },
    ];
    return {
      architecture: "DistilBertForSequenceClassification",
      pools: "first",
      dropout: classifierDropout,
      linears,
      logits(g, hidden, labels, hooks) {
        const [before, classifier] = linears(labels);
        const inner = g.inScope(before.path, () => hooks.linear(hidden, before));
        const active = g.cheap(() => g.relu(inner));
        const seen = hooks.drop?.(active, classifier.path) ?? active;
        return g.inScope(classifier.path, () => hooks.linear(seen, classifier));
      },
    };
  },
  // The head of pre-training, and positions that older versions saved.
  ignores: /^vocab_(?:transform|layer_norm|projector)\.|(?:^|\.)embeddings\.position_ids$/,
  // Source: model2layers of bert-score 0.3.13.
  comparingLayers: {
    "distilbert-base-uncased": 5,
    "distilbert-base-uncased-distilled-squad": 4,
    "distilbert-base-multilingual-cased": 5,
  },
};

/** DistilBERT: BERT's blocks without token types and pooler. Source: Sanh et al., "DistilBERT", 2019; modeling_distilbert.py of transformers 5.24. */
export const distilbert = defineFamily({
  readConfig,
  model: (config) => encoderModel(family, config),
});
