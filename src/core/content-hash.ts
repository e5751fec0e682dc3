import { createHash } from "node:crypto";

/**
 * SHA-256 of a list of parts, as 64 hexadecimal digits.
 *
 * Each part goes in behind its length, so that ["ab", "c"] and ["a", "bc"] differ. Texts count as UTF-8.
 */
export const contentHash = (parts: Iterable<string | Uint8Array>): string => {
  const hash = createHash("sha256");
  const length = new DataView(new ArrayBuffer(8));
  for (const part of parts) {
    const bytes = typeof part === "string" ? Buffer.from(part, "utf8") : part;
    length.setBigUint64(0, BigInt(bytes.byteLength), true);
    hash.update(new Uint8Array(length.buffer));
    hash.update(bytes);
  }
  return hash.digest("hex");
};
