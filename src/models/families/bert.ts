import { flag, JsonFields, positive, share, size } from "../../core/json-fields.js";
import type { JsonObject } from "../../core/json-file.js";
import { readActivation } from "../blocks/activations.js";
import { encoderModel, type EncoderConfig, type EncoderFamily } from "../blocks/encoder.js";
import { defineFamily } from "../family.js";
import type { LinearModule } from "../model.js";
import { readTokenIds } from "../token-ids.js";

/** Source: BertConfig of transformers 5.24. */
const readConfig = (raw: JsonObject, faults: string[]): EncoderConfig => {
  const fields = new JsonFields(raw, "", faults);
  const hiddenSize = fields.optional("hidden_size", size, 768);
  const heads = fields.optional("num_attention_heads", size, 12);
  if (hiddenSize % heads > 0)
    fields.fault("hidden_size", `a multiple of num_attention_heads (${String(heads)})`);
  if ((fields.value("position_embedding_type") ?? "absolute") !== "absolute")
    fields.fault("position_embedding_type", '"absolute"');
  if (fields.optional("is_decoder", flag, false))
    fields.fault("is_decoder", "false: BERT as a decoder is not built");
  const dropout = fields.optional("hidden_dropout_prob", share, 0.1);
  return {
    modelType: "bert",
    vocabSize: fields.optional("vocab_size", size, 30522),
    hiddenSize,
    intermediateSize: fields.optional("intermediate_size", size, 3072),
    layers: fields.optional("num_hidden_layers", size, 12),
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    maxPositionEmbeddings: fields.optional("max_position_embeddings", size, 512),
    tokenTypes: fields.optional("type_vocab_size", size, 2),
    epsilon: fields.optional("layer_norm_eps", positive, 1e-12),
    activation: readActivation(fields, "hidden_act", "gelu"),
    dropout,
    attentionDropout: fields.optional("attention_probs_dropout_prob", share, 0.1),
    classifierDropout: fields.optional("classifier_dropout", share, dropout),
    bosId: readTokenIds(raw, "bos_token_id", faults)[0],
    eosIds: readTokenIds(raw, "eos_token_id", faults),
    padId: readTokenIds(raw, "pad_token_id", faults, [0])[0],
  };
};

const poolerOf = ({ hiddenSize }: EncoderConfig): LinearModule => ({
  path: "bert.pooler.dense",
  ...{ inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true },
});

const family: EncoderFamily = {
  names: {
    prefix: "bert.",
    words: "embeddings.word_embeddings",
    positions: "embeddings.position_embeddings",
    types: "embeddings.token_type_embeddings",
    norm: "embeddings.LayerNorm",
    layer: "encoder.layer",
    ofLayer: {
      query: "attention.self.query",
      key: "attention.self.key",
      value: "attention.self.value",
      output: "attention.output.dense",
      attentionNorm: "attention.output.LayerNorm",
      inner: "intermediate.dense",
      outer: "output.dense",
      norm: "output.LayerNorm",
    },
  },
  dropsAttended: true,
  pooler: poolerOf,
  classifier(config) {
    const pooler = poolerOf(config);
    const linears = (labels: number): readonly [LinearModule] => [
      { path: "classifier", inFeatures: config.hiddenSize, outFeatures: labels, bias: true },
    ];
    return {
      architecture: "BertForSequenceClassification",
      pools: "first",
      dropout: config.classifierDropout,
      linears,
      logits(g, hidden, labels, hooks) {
        const [classifier] = linears(labels);
        const pooled = g.tanh(g.inScope(pooler.path, () => hooks.linear(hidden, pooler)));
        const seen = hooks.drop?.(pooled, classifier.path) ?? pooled;
        return g.inScope(classifier.path, () => hooks.linear(seen, classifier));
      },
    };
  },
  // Heads of pre-training, and positions that older versions saved.
  ignores: /^cls\.|(?:^|\.)embeddings\.(?:position_ids|token_type_ids)$/,
  // Source: model2layers of bert-score 0.3.13.
  comparingLayers: {
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "bert-base-cased-finetuned-mrpc": 9,
    "bert-base-multilingual-cased": 9,
    "bert-base-chinese": 8,
  },
};

/** BERT. Source: Devlin et al., "BERT", 2018; modeling_bert.py of transformers 5.24. */
export const bert = defineFamily({
  readConfig,
  model: (config) => encoderModel(family, config),
});
