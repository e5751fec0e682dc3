import { fileURLToPath } from "node:url";
import type { Model } from "../../src/models/model.js";
import { adaptableModules } from "../../src/models/model.js";
import { createFullAdapter, createLinearAdapter, type Adapter } from "../../src/peft/adapter.js";
import { dora } from "../../src/peft/dora.js";
import { fft } from "../../src/peft/fft.js";
import { hilora } from "../../src/peft/hilora.js";
import { hira } from "../../src/peft/hira.js";
import { lora, rslora } from "../../src/peft/lora.js";
import type { LinearMethod } from "../../src/peft/method.js";
import type { MethodOptions } from "../../src/peft/registry.js";
import { addSavedModules } from "../../src/peft/modules-to-save.js";
import { mora } from "../../src/peft/mora.js";
import { pTuning } from "../../src/peft/p-tuning.js";
import { prefix } from "../../src/peft/prefix.js";
import { promptTuning } from "../../src/peft/prompt-tuning.js";
import { selectTargets } from "../../src/peft/targets.js";
import { createVirtualAdapter } from "../../src/peft/virtual-tokens.js";
import { checkGolden, checkLogits, goldenTargets, type GoldenCase } from "../support/goldens.js";
import { testWithShared } from "../support/shared.js";

const onTargets =
  (method: LinearMethod<MethodOptions>, options: Partial<MethodOptions> = {}) =>
  (model: Model): Adapter =>
    createLinearAdapter(method, { rank: 8, alpha: 16, ...options }, goldenTargets(model));

/** The method with some of its parameters frozen. */
const frozen = (
  method: LinearMethod<MethodOptions>,
  names: readonly string[],
): LinearMethod<MethodOptions> => ({
  ...method,
  parameters: (module, options) =>
    Object.fromEntries(
      Object.entries(method.parameters(module, options)).map(([short, spec]) => [
        short,
        names.includes(short) ? { ...spec, trainable: false } : spec,
      ]),
    ),
});

const ownNumbers = {
  numbers: fileURLToPath(new URL("../fixtures/train/peft-goldens", import.meta.url)),
  places: ["start"],
} as const;
const onTables = (method: LinearMethod<MethodOptions>, name: string): GoldenCase => ({
  ...ownNumbers,
  name,
  adapter: (model) =>
    createLinearAdapter(
      method,
      { rank: 4, alpha: 6 },
      selectTargets(adaptableModules(model), "q_proj,embed_tokens,lm_head"),
    ),
});
/** See scripts/reference/peft_goldens.py. */
const peftCases: Readonly<Record<string, GoldenCase>> = {
  rsLoRA: {
    ...ownNumbers,
    name: "rslora",
    adapter: (model) =>
      createLinearAdapter(
        rslora,
        { rank: 4, alpha: 6 },
        selectTargets(model.linears, "q_proj,down_proj"),
      ),
  },
  "prompt tuning": {
    ...ownNumbers,
    name: "prompt-tuning",
    adapter: (model) => createVirtualAdapter(promptTuning, { virtualTokens: 6 }, model),
  },
  "p-tuning": {
    ...ownNumbers,
    name: "p-tuning",
    adapter: (model) =>
      createVirtualAdapter(pTuning, { virtualTokens: 6, encoderHiddenSize: 12 }, model),
  },
  "LoRA with modules_to_save": {
    ...ownNumbers,
    name: "lora-saved",
    adapter: (model) =>
      addSavedModules(
        createLinearAdapter(lora, { rank: 4, alpha: 6 }, selectTargets(model.linears, "q_proj")),
        ["embed_tokens", "lm_head", "model.norm"],
        model,
      ),
  },
  "LoRA on embedding and head (9.20)": onTables(lora, "lora-tables"),
  "DoRA on embedding and head (9.20)": onTables(dora, "dora-tables"),
  "DoRA with rsLoRA's scale (9.21)": {
    ...ownNumbers,
    name: "dora-rslora",
    adapter: (model) =>
      createLinearAdapter(
        dora,
        { rank: 4, alpha: 6, rankStabilized: true },
        selectTargets(model.linears, "q_proj,down_proj"),
      ),
  },
  "p-tuning with an LSTM": {
    ...ownNumbers,
    name: "p-tuning-lstm",
    adapter: (model) =>
      createVirtualAdapter(
        pTuning,
        { virtualTokens: 6, encoderHiddenSize: 7, encoderType: "LSTM" },
        model,
      ),
  },
  "prefix tuning with a projection": {
    ...ownNumbers,
    name: "prefix-projection",
    adapter: (model) =>
      createVirtualAdapter(
        prefix,
        { virtualTokens: 6, prefixProjection: true, encoderHiddenSize: 10 },
        model,
      ),
  },
};

const startAndProbe = ["start", "probe"] as const;
const cases: Readonly<Record<string, GoldenCase>> = {
  HiRA: { name: "hira", adapter: onTargets(hira), places: startAndProbe },
  LoRA: { name: "lora", adapter: onTargets(lora), places: startAndProbe },
  DoRA: { name: "dora", adapter: onTargets(dora), places: startAndProbe },
  "MoRA of type 6": { name: "mora", adapter: onTargets(mora), places: startAndProbe },
  "HiLoRA with the Hadamard part at zero": {
    name: "lora",
    adapter: onTargets(frozen(hilora, ["A", "B"]), { additiveRank: 8 }),
    places: startAndProbe,
    storedName: (parameter) => {
      const [path = "", short] = parameter.split(/\.lora(?=[AB]$)/);
      return short === undefined ? undefined : `${path}.${short}`;
    },
  },
  "HiLoRA with the additive part at zero": {
    name: "hira",
    adapter: onTargets(frozen(hilora, ["loraA", "loraB"])),
    places: startAndProbe,
    storedName: (parameter) => (/\.lora[AB]$/.test(parameter) ? undefined : parameter),
  },
  "prefix tuning": {
    name: "prefix",
    adapter: (model) => createVirtualAdapter(prefix, { virtualTokens: 8 }, model),
    places: ["start"],
    storedName: () => "prefix",
  },
  "prefix tuning that attends to padding": {
    name: "prefix_nomask",
    adapter: (model) =>
      createVirtualAdapter(prefix, { virtualTokens: 8, masksPadding: false }, model),
    places: ["start"],
    storedName: () => "prefix",
  },
  ...peftCases,
  "full fine-tuning": {
    name: "full",
    adapter: (model) => createFullAdapter(fft, model.tensors),
    places: ["start"],
  },
};

for (const [title, golden] of Object.entries(cases))
  testWithShared(
    `losses, gradients and final weights are PyTorch's: ${title}`,
    "goldens",
    (t, folder) => checkGolden(t, folder, golden),
  );

testWithShared("the plain model's logits are PyTorch's", "goldens", async (t, folder) => {
  await checkLogits(t, folder, { model: "tiny-llama", tolerance: 1e-4 });
});
