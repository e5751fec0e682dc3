import test from "ava";
import { forwardCommand, type ForwardOptions } from "../../src/cli/commands/forward.js";
import { generateCommand, type GenerateCommandOptions } from "../../src/cli/commands/generate.js";
import { runMain, type MainResult } from "./support.js";

const runForward = async (
  ...argv: string[]
): Promise<MainResult & { options?: ForwardOptions }> => {
  let options: ForwardOptions | undefined;
  const command = forwardCommand(async (given) => {
    options = given;
  });
  const result = await runMain(["forward", ...argv], [command]);
  return options === undefined ? result : { ...result, options };
};

const runGenerate = async (
  ...argv: string[]
): Promise<MainResult & { options?: GenerateCommandOptions }> => {
  let options: GenerateCommandOptions | undefined;
  const command = generateCommand(async (given) => {
    options = given;
  });
  const result = await runMain(["generate", ...argv], [command]);
  return options === undefined ? result : { ...result, options };
};

test("hira forward takes a model, a method, start values and files", async (t) => {
  const { options } = await runForward(
    ...[
      "--model=m",
      "--peft=hira",
      "--r_ab=4",
      "--adapter_init=i",
      "--input=a",
      "--out=b",
      "--grad",
    ],
  );
  t.like(options, {
    modelName: "m",
    peftType: "hira",
    rank: 4,
    adapterInit: "i",
    input: "a",
    out: "b",
    gradients: true,
    precision: "fp32",
    ckpt: undefined,
  });
});

test("hira forward asks for both files at once", async (t) => {
  const { code, stderr } = await runForward("--model=m", "--r_ab=x");
  t.is(code, 2);
  t.regex(
    stderr,
    /found 3 faults\n {2}--r_ab: .*\n {2}--input: found nothing, .*\n {2}--out: found/,
  );
});

test("hira generate has transformers' defaults, but for the original's sampling", async (t) => {
  const { options } = await runGenerate("--model=m", "--input=a", "--out=b");
  t.like(options, {
    numBeams: 1,
    numReturnSequences: 1,
    maxNewTokens: 16,
    lengthPenalty: 1,
    noRepeatNgramSize: 0,
    earlyStopping: false,
    doSample: false,
    temperature: 0.1,
    topK: 40,
    topP: 0.75,
    batch: 32,
    seed: undefined,
  });
});

test("hira generate reads early_stopping as transformers has it", async (t) => {
  for (const [text, value] of [
    ["true", true],
    ["false", false],
    ["never", "never"],
  ] as const) {
    const { options } = await runGenerate(
      "--input=a",
      "--out=b",
      "--beam_size=2",
      `--early_stopping=${text}`,
    );
    t.is(options?.earlyStopping, value);
  }
});

test("hira generate returns no more sequences than beams, unless it draws them with one", async (t) => {
  const files = ["--input=a", "--out=b"];
  const { code, stderr } = await runGenerate(...files, "--num_return=3", "--beam=2");
  t.is(code, 2);
  t.regex(stderr, /--num_return_sequences: found 3, expected at most the 2 of --beam_size/);
  t.is((await runGenerate(...files, "--num_return=3", "--do_sample=yes")).code, 0);
});
