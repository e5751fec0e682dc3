/**
 * What ONNX Runtime answers when a call fails.
 *
 * `code` is OrtErrorCode of onnxruntime_c_api.h: 1 fail, 2 invalid argument, 6 runtime exception, 7 invalid protobuf,
 * 9 not implemented, 10 invalid graph.
 */
export class OrtError extends Error {
  override readonly name = "OrtError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(`ONNX Runtime: ${message} (code ${code})`);
    this.code = code;
  }
}
