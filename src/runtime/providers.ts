import { UserError } from "../core/errors.js";
import { ort } from "./c-api.js";

/** What computes: the `--device` values. Only "cpu" works in this version. */
export type Provider = "cpu" | "openvino" | "webgpu" | "cuda";

const missing: Readonly<Record<Exclude<Provider, "cpu">, string>> = {
  openvino: "the OpenVINO plugin of ONNX Runtime (package onnxruntime-ep-openvino)",
  webgpu: "a Vulkan, Metal or Direct3D 12 driver, and device memory in the tensors",
  cuda: "the CUDA plugin of ONNX Runtime (package onnxruntime-gpu) and NVIDIA's CUDA 13 libraries",
};

/** The version of the ONNX Runtime library, such as "1.30.0"; loads it. */
export const runtimeVersion = (): string => ort().version;

/** @throws {UserError} for a provider that this version cannot start, saying what it takes */
export const assertProvider = (provider: Provider): void => {
  if (provider === "cpu") return;
  throw new UserError(
    `Cannot compute on device "${provider}": found no support for it in this version, expected "cpu"`,
    `It takes ${missing[provider]}, which this version does not load yet; --device=cpu works`,
  );
};
