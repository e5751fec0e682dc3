import { environment, hostMemory, listOfTexts, ort, receive, type Handle } from "./c-api.js";

let sessions = 0;

/** An arena that grows by what is asked for, not by doubling: sessions of a step take the same stretches every time. */
const settings = { max_mem: 0n, arena_extend_strategy: 1n };

/**
 * Lets a session that is about to be made allocate from one arena with all others that do: what one of them gives back, the next one
 * takes. Sessions that run one after the other then hold no more than one would.
 *
 * The arena goes with the last session that uses it.
 * @returns gives up the session's share, after it has been released
 * @throws {OrtError} if the runtime refuses it
 */
export const joinSharedArena = (options: Handle<"SessionOptions">): (() => void) => {
  const api = ort();
  if (sessions === 0) {
    const { addresses, kept } = listOfTexts(Object.keys(settings));
    const values = BigUint64Array.from(Object.values(settings));
    const config = receive<Handle<"ArenaConfig">>((out) =>
      api.createArenaConfig(addresses, values, kept.length, out),
    );
    try {
      api.createAndRegisterAllocator(environment(), hostMemory(), config);
    } finally {
      api.release.arenaConfig(config);
    }
  }
  sessions++;
  api.addSessionConfigEntry(options, "session.use_env_allocators", "1");
  // Else the threads of one session still look out for work while those of the next one do theirs.
  api.addSessionConfigEntry(options, "session.force_spinning_stop", "1");
  let left = false;
  return () => {
    if (left) return;
    left = true;
    if (--sessions === 0) api.unregisterAllocator(environment(), hostMemory());
  };
};
