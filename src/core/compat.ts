/**
 * The authors' behaviours that `--compat` brings back, by name:
 *
 * - `init`: --init_ab has no effect (always kaiming, zero)
 * - `targets`: the names of --target_modules are not trimmed
 * - `tokens`: no BOS and EOS around the training rows of template 4; those of the others are one text, cut at the table's length
 * - `pad`: every training row is padded to the full context and target columns
 * - `loss`: outside template 4 the loss runs over prompt and answer
 * - `splits`: a set without a validation file reads test silently; --dataset_ratio cuts the test split too
 * - `exit`: exit code 0 where a file is missing
 * - `loss-mean`: losses are means of the micro-batches' means, eval_loss is weighted by rows
 * - `seed`: the data order is seeded with 42, whatever --seed
 * - `rand-r`: --rand_R adds the bias twice
 * - `mask`: with virtual tokens, padding is attended to in training
 * - `text`: fft ignores eos in decoding; decoded text is cleaned of spaces; the pad text goes before the cut at eos
 * - `names`: --max_new_tokens sets the training target's length; --beam_size is in the name though unused
 * - `scorer`: no answer equals no answer; a missing set counts as -1 in the average
 */
export const compatNames = [
  "init",
  "targets",
  "tokens",
  "pad",
  "loss",
  "splits",
  "exit",
  "loss-mean",
  "seed",
  "rand-r",
  "mask",
  "text",
  "names",
  "scorer",
] as const;

/** A name that --compat takes. */
export type CompatName = (typeof compatNames)[number];

/** The behaviours that are switched on. Empty: all of ours. */
export type Compat = ReadonlySet<CompatName>;
