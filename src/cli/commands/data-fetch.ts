import { UserError } from "../../core/errors.js";
import { chooseDataRoot } from "../../datasets/data-root.js";
import { basisWords, type DataSource } from "../../datasets/source.js";
import { sourceNames, sourceOf } from "../../datasets/sources.js";
import type { Fetched, FetchedFile, FetchOptions } from "../../datasets/fetch-source.js";
import { defineCommand, type Command } from "../command.js";
import { pickFlags } from "../options.js";
import { always } from "../reads.js";
import { licenceText, readSourceNames } from "../source-words.js";
import { formatBytes } from "../terminal-progress.js";

const checkWords = (check: FetchedFile["check"]): string => {
  switch (check) {
    case undefined:
      return "nothing is known to check it against";
    case "first":
      return "nothing was known to check it against: its hash is recorded now";
    case "recorded":
      return "the same as when it first came";
    case "accepted":
      return "its hash is the one that you stand for";
    default:
      return `its hash is right (${basisWords[check]})`;
  }
};

const fileLine = ({ path, state, bytes, check }: FetchedFile): string =>
  `${path}  ${bytes < 2 ** 20 ? `${String(bytes)} bytes` : formatBytes(bytes)}  ${state === "there" ? "is there" : "fetched"}; ${checkWords(check)}`;

/** An address that files can lie under. */
const isAddress = (text: string): boolean => /^https?:\/\/[^/\s]+/.test(text);

/** `hira data fetch`. @param fetchSource the work, which loads the network's library */
export const dataFetchCommand = (
  fetchSource: (source: DataSource, options: FetchOptions) => Promise<Fetched>,
): Command =>
  defineCommand({
    name: "data fetch",
    summary: "Fetch data sets from their publishers, checked and resumed",
    description:
      "Puts the files where --dataset reads them. What was cut off is gone on with, a file stands in its place only when it is whole and its SHA-256 is right, and proxies of HTTPS_PROXY, HTTP_PROXY and NO_PROXY are used. A file whose hash nobody knows is taken the first time, recorded in hira-sources.json of the data folder, and has to be the same ever after. Licences are told before the first byte; hira data list NAME shows addresses, hashes and terms.",
    words: {
      name: "<set>...",
      help: "Names of --dataset; common_all for the eight commonsense sets",
    },
    flags: {
      ...pickFlags(["data_dir"]),
      overwrite: {
        kind: "switch",
        group: "Files and output",
        help: "Replace files of other content",
      },
      mirror: {
        kind: "text",
        group: "Files and output",
        placeholder: "url",
        default: null,
        help: "Take https://HOST/PATH from url/HOST/PATH; what it is checked against stays the same",
      },
      accept_sha256: {
        kind: "text",
        list: true,
        group: "Files and output",
        placeholder: "hashes",
        default: null,
        help: "Take files of these very hashes, though others are expected",
      },
    },
    reads: { data_dir: always, overwrite: always, mirror: always, accept_sha256: always },
    examples: [
      ["hira data fetch common_all", "train and test rows of the eight commonsense sets"],
      [
        "hira data fetch common_170k && hira data split",
        "the mixed train rows, split as the authors do",
      ],
      ["hira data fetch mmlu --data_dir=/data", "another data folder"],
    ],
    async run({ values, words, context: { ui }, faults, throwFaults }) {
      const { data_dir: dataDir, overwrite, mirror, accept_sha256: accept } = values;
      if (mirror !== null && !isAddress(mirror))
        faults.push({
          what: "--mirror",
          found: JSON.stringify(mirror),
          expected: "an address such as https://files.example/mirror",
        });
      const hashes = (accept ?? "").split(",").map((hash) => hash.trim().toLowerCase());
      const broken = hashes.filter((hash) => !/^[0-9a-f]{64}$/.test(hash));
      if (accept !== null && broken.length > 0)
        faults.push({
          what: "--accept_sha256",
          found: broken.map((hash) => JSON.stringify(hash)).join(", "),
          expected: "64 hexadecimal digits, with commas between several",
        });
      throwFaults();
      if (words.length === 0)
        throw new UserError(
          `Cannot fetch nothing: expected some of ${sourceNames.join(", ")}, or common_all`,
          "For example: hira data fetch boolq",
        );
      const names = readSourceNames(words);
      const { root } = chooseDataRoot({ dataDir: dataDir ?? undefined });
      // All terms are told before the first byte comes.
      for (const name of names) ui.line(`${name}: ${licenceText(sourceOf(name).licence)}`);
      let isMissing = false;
      for (const name of names) {
        const source = sourceOf(name);
        const { files, missing } = await fetchSource(source, {
          root,
          overwrite,
          mirror: mirror ?? undefined,
          environment: process.env,
          ...(accept !== null && { accepted: new Set(hashes) }),
          onFile: ({ path }) => {
            let work: ReturnType<typeof ui.decoding> | undefined;
            let shown = 0;
            return {
              progress: (bytes, total) => {
                work ??= ui.decoding(Math.ceil((total ?? bytes) / 1024), path, "KiB");
                const kib = Math.ceil(bytes / 1024);
                work.advance(kib - shown);
                shown = kib;
              },
              done: () => work?.done(),
            };
          },
          onRetry: (why) => {
            ui.warn(`${why}; trying again`);
          },
        });
        for (const file of files) ui.line(fileLine(file));
        if (missing.length > 0) {
          isMissing = true;
          ui.warn(`${name}: still missing in ${root}: ${missing.join(", ")}`);
        }
        if (
          source.byHand !== undefined &&
          (missing.length > 0 || !files.every(({ state }) => state === "there"))
        )
          ui.line(`${name}: ${source.byHand}`);
      }
      return isMissing ? 1 : undefined;
    },
  });
