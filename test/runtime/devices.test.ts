import test from "ava";
import { openPlan } from "../../src/runtime/compute-plan.js";
import { openDevice } from "../../src/runtime/devices/registry.js";

test("the device auto is the CPU", async (t) => {
  t.is((await openDevice({ device: "auto" })).name, "cpu");
});

test("a device that is none is refused with the names there are", async (t) => {
  for (const device of ["gpu", "cpu:1", "cuda:x", "webgpu:0", ""])
    await t.throwsAsync(openDevice({ device }), {
      name: "UserError",
      message: `Cannot compute on --device=${device}: expected cpu, openvino, cuda, webgpu, or cuda:N for card N`,
    });
});

test("a precision that a device lacks is refused with those that it has", async (t) => {
  await t.throwsAsync(openPlan({ precision: "bf16" }), {
    name: "UserError",
    message:
      /^Cannot compute in --precision=bf16 on --device=cpu \(CPU, .*\): expected fp32 or fp16$/,
  });
});
