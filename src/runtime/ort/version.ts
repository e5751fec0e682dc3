import { ort } from "./c-api.js";

/** The version of the ONNX Runtime library, such as "1.30.0"; loads it. */
export const runtimeVersion = (): string => ort().version;
