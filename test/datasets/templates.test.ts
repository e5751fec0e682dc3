import test from "ava";
import { contextText, templates } from "../../src/datasets/templates.js";

test("template 4 has the original's bytes", (t) => {
  t.is(
    contextText(templates[4], "{cinput}"),
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.  \n\n### Instruction:\n{cinput}\n\n### Response:\n",
  );
});

test("template 4 has alpaca's text for a row with its input (9.4)", (t) => {
  t.is(
    contextText(templates[4], "{instruction}", "{input}"),
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
  );
});

test("templates 0, 1 and 7 have the original's bytes", (t) => {
  t.is(contextText(templates[0], "{cinput}") + "{target}", "CONTEXT: {cinput} TARGET: {target}");
  t.is(contextText(templates[1], "{cinput}") + "{target}", "{cinput} R: {target}");
  t.is(contextText(templates[7], "{cinput}") + "{target}", "{cinput}{target}");
});
