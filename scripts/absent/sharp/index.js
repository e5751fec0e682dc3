/**
 * In place of sharp, which @huggingface/transformers imports when it is loaded and calls for images alone.
 *
 * @throws {Error} always
 */
export default function sharp() {
  throw new Error("Cannot work on an image: sharp is left out, since hira reads text only");
}
