import { join } from "node:path";
import type { ExecutionContext } from "ava";
import type { HubUi } from "../../../src/models/hub/fetch-snapshot.js";
import { findOnHub, type FindOptions } from "../../../src/models/hub/find-on-hub.js";
import {
  commitOfFolder,
  startHubServer,
  type HubCommit,
  type HubServer,
  type ServedRepo,
} from "../../support/hub-server.js";
import { makeTempFolder } from "../../support/temp-folder.js";

/** The model that lies in the repository, as a commit: 1.6 MB of weights. */
export const demoCommit: HubCommit = commitOfFolder("data_file/demo");

/** What was shown. */
export interface ShownUi extends HubUi {
  readonly lines: string[];
  readonly warnings: string[];
  /** Parts that were told of each bar, and its total. */
  readonly bars: { readonly label: string; readonly total: number; parts: number }[];
}

export const showingUi = (): ShownUi => {
  const [lines, warnings, bars]: [string[], string[], ShownUi["bars"]] = [[], [], []];
  return {
    ...{ lines, warnings, bars },
    line: (text) => void lines.push(text),
    warn: (text) => void warnings.push(text),
    decoding: (total, label) => {
      const bar = { label, total, parts: 0 };
      bars.push(bar);
      return { advance: (parts) => void (bar.parts += parts), done: () => undefined };
    },
  };
};

/** A server and an empty cache. */
export interface HubBench {
  readonly server: HubServer;
  readonly home: string;
  readonly cache: string;
  readonly ui: ShownUi;
  readonly environment: Record<string, string>;
  /** findOnHub with all of them, without waits. */
  readonly find: (
    name: string,
    options?: Partial<Pick<FindOptions, "purpose" | "network" | "environment">>,
  ) => Promise<string>;
}

export const openBench = async (
  t: ExecutionContext,
  repos: Readonly<Record<string, ServedRepo>> = { "org/demo": { revisions: { main: demoCommit } } },
): Promise<HubBench> => {
  const server = await startHubServer(t, repos);
  const home = await makeTempFolder(t);
  const environment = { HF_ENDPOINT: server.address, HF_HOME: home };
  const ui = showingUi();
  return {
    ...{ server, home, ui, environment },
    cache: join(home, "hub"),
    find: (name, options = {}) =>
      findOnHub(name, {
        purpose: "model",
        ui,
        environment,
        ...options,
        network: { attempts: 3, waitMs: 1, silenceMs: 60_000, ...options.network },
      }),
  };
};
