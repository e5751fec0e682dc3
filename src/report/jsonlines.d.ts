/** The part of the jsonlines package that hira uses; the package brings no types of its own. */
declare module "jsonlines" {
  import type { Transform } from "node:stream";
  /** Objects in, one line of JSON each out (strings with "\n"). */
  export const stringify: () => Transform;
}
