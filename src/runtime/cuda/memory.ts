import { UserError } from "../../core/errors.js";
import { viewMemory } from "../ort/c-api.js";
import { CudaError, outOfMemory, type CudaRuntime } from "./cudart.js";

const mib = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20).toLocaleString("en")} MiB`;

/** CUDA's own granule; blocks of one size serve each other. */
const granule = 512;
const rounded = (bytes: number): number => Math.max(granule, Math.ceil(bytes / granule) * granule);

/** Bytes of pinned memory through which small writes go. */
const stagingBytes = 4 << 20;

/** What moved between the host and the card, in bytes and calls, since the device was opened. */
export interface CopyCounts {
  readonly up: number;
  readonly down: number;
  readonly calls: number;
}

/**
 * The memory of one card, in the order of one stream: a block that is given back may be handed out at once, because what reads
 * it was queued before what writes it next.
 */
export class CardMemory {
  readonly #runtime: CudaRuntime;
  readonly #card: number;
  /** In bytes, of what tensors take; Infinity: the card's own. */
  limit = Infinity;
  readonly stream: bigint;
  readonly #idle = new Map<number, bigint[]>();
  #held = 0;
  #peak = 0;
  #staging: { readonly address: bigint; readonly bytes: Uint8Array } | undefined;
  #staged = 0;
  readonly #counts = { up: 0, down: 0, calls: 0 };

  constructor(runtime: CudaRuntime, card: number) {
    this.#runtime = runtime;
    this.#card = card;
    runtime.useCard(card);
    this.stream = runtime.createStream();
  }

  /** Bytes that tensors take now, with blocks that wait for the next; and the most so far. */
  get bytes(): { readonly now: number; readonly peak: number } {
    return { now: this.#held, peak: this.#peak };
  }

  get counts(): CopyCounts {
    return { ...this.#counts };
  }

  /** @throws {UserError} where the card, or the limit, has no room for it */
  allocate(bytes: number): bigint {
    const size = rounded(bytes);
    const idle = this.#idle.get(size)?.pop();
    if (idle !== undefined) return idle;
    this.#runtime.useCard(this.#card);
    if (this.#held + size > this.limit) this.trim();
    if (this.#held + size > this.limit) throw this.#full(size, this.limit - this.#held);
    const address = this.#allocateOrTrim(size);
    this.#held += size;
    this.#peak = Math.max(this.#peak, this.#held);
    return address;
  }

  /** Takes a block back that was allocated with the same number of bytes. */
  release(address: bigint, bytes: number): void {
    const size = rounded(bytes);
    const idle = this.#idle.get(size);
    if (idle) idle.push(address);
    else this.#idle.set(size, [address]);
  }

  /** Gives the blocks that nobody uses back to the card. */
  trim(): void {
    this.#runtime.useCard(this.#card);
    for (const [size, addresses] of this.#idle)
      for (const address of addresses) {
        this.#runtime.free(address);
        this.#held -= size;
      }
    this.#idle.clear();
  }

  clear(address: bigint, bytes: number): void {
    this.#runtime.clear(address, bytes, this.stream);
  }

  /** Copies to the card; `source` may change when it returns. Small ones do not wait for the card. */
  write(address: bigint, source: ArrayBufferView): void {
    const { byteLength } = source;
    if (byteLength === 0) return;
    this.#counts.up += byteLength;
    this.#counts.calls++;
    if (byteLength > stagingBytes / 4) {
      this.#runtime.copyUp(address, source, this.stream);
      this.#staged = 0;
      return;
    }
    const staging = (this.#staging ??= this.#pin());
    if (this.#staged + byteLength > stagingBytes) this.synchronize();
    staging.bytes.set(new Uint8Array(source.buffer, source.byteOffset, byteLength), this.#staged);
    this.#runtime.copyUpPinned(
      address,
      staging.address + BigInt(this.#staged),
      byteLength,
      this.stream,
    );
    // Aligned, so that the next one is as fast.
    this.#staged += Math.ceil(byteLength / 64) * 64;
  }

  /** Copies from the card, after all that was queued. @throws {CudaError} of that work too */
  read(target: ArrayBufferView, address: bigint): void {
    if (target.byteLength === 0) return;
    this.#counts.down += target.byteLength;
    this.#counts.calls++;
    this.#runtime.copyDown(target, address, this.stream);
    this.#staged = 0;
  }

  /** Waits for all that was queued. */
  synchronize(): void {
    this.#runtime.synchronize(this.stream);
    this.#staged = 0;
  }

  #pin(): { readonly address: bigint; readonly bytes: Uint8Array } {
    const address = this.#runtime.allocatePinned(stagingBytes);
    return { address, bytes: new Uint8Array(viewMemory(address, stagingBytes)) };
  }

  #allocateOrTrim(size: number): bigint {
    for (const isLast of [false, true])
      try {
        return this.#runtime.allocate(size);
      } catch (error) {
        if (!(error instanceof CudaError) || error.code !== outOfMemory) throw error;
        if (isLast) break;
        this.trim();
      }
    throw this.#full(size, this.#runtime.facts(this.#card).freeBytes);
  }

  #full(size: number, free: number): UserError {
    return new UserError(
      `Cannot hold a tensor on device "cuda:${String(this.#card)}": found ${mib(free)} free, expected ${mib(size)}; tensors of this run take ${mib(this.#held)}`,
      memoryHint,
    );
  }
}

/** What to do where a card is full. */
export const memoryHint =
  "Take a smaller --batch, --enable_grad_ckpt, --precision=bf16 or --load_bit=8, or a card that nobody else uses (nvidia-smi; --device=cuda:N)";
