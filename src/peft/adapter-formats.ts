import { authorsHira, hiraWithR, peftHira } from "./formats/hira.js";
import { hiloraFormat } from "./formats/hilora.js";
import { peftLora } from "./formats/lora.js";
import { moraFormat } from "./formats/mora.js";
import { peftPTuning, peftPrefix, peftPromptTuning } from "./formats/virtual-tokens.js";
import type { AdapterFormat } from "./formats/format.js";

/**
 * Every layout, in the order in which a config is offered to them: the authors' HiRA and MoRA must come before LoRA.
 *
 * Names of tensors are tried in this order too: `lora_A` is HiLoRA's loraA where there is one, else LoRA's A.
 */
export const adapterFormats: readonly AdapterFormat[] = [
  peftHira,
  hiraWithR,
  authorsHira,
  hiloraFormat,
  moraFormat,
  peftLora,
  peftPrefix,
  peftPTuning,
  peftPromptTuning,
];
