/**
 * What OpenVINO answers when a call fails.
 *
 * `code` is ov_status_e of ov_common.h: -1 general error, -4 parameter mismatch, -13 the run was cancelled.
 */
export class OpenVinoError extends Error {
  override readonly name = "OpenVinoError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(`OpenVINO: ${message} (code ${code})`);
    this.code = code;
  }
}
