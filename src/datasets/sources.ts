import type { DataSource, KnownHash, Licence } from "./source.js";

const oneLicence = (name: string, url: string, isRead: boolean): Licence => ({ name, url, isRead });

const shareAlike = "Changed copies may be given on under the same licence only.";
const ccBySa = (version: "3.0" | "4.0", isRead: boolean): Licence => ({
  name: `CC BY-SA ${version}`,
  url: `https://creativecommons.org/licenses/by-sa/${version}/`,
  forbids: shareAlike,
  isRead,
});

const llmAdaptersPage = "https://github.com/AGI-Edgerunners/LLM-Adapters";
const llmAdaptersRaw =
  "https://raw.githubusercontent.com/AGI-Edgerunners/LLM-Adapters/816657208af4db747803f87ba40a4c71383fed7a";

/** ODC-By over LLM-Adapters' form, which was read; the licences of the questions themselves are from general knowledge. */
const adapted = (own: string): Licence => ({
  name: `ODC-By 1.0; ${own}`,
  ...(own.startsWith("CC BY-SA") && { forbids: shareAlike }),
  url: `${llmAdaptersPage}/blob/main/DATA_LICENSE`,
  isRead: false,
});

interface Known {
  readonly bytes?: number;
  readonly hash: KnownHash;
}

const reckoned = (bytes: number, sha256: string): Known => ({
  bytes,
  hash: { sha256, basis: "bytes" },
});
const inTree = (gitBlob: string): Known => ({ hash: { gitBlob, basis: "tree" } });
const ofCopy = (sha256: string): KnownHash => ({ sha256, basis: "copy" });
const asTold = (sha256: string): Known => ({ hash: { sha256, basis: "told" } });

/** One of LLM-Adapters' sets, in the folder that train_hira.py reads. */
const adaptedSet = (
  folder: string,
  title: string,
  own: string,
  { train, test }: { readonly train: Known; readonly test: Known },
): DataSource => ({
  title: `${title}, LLM-Adapters' form`,
  page: llmAdaptersPage,
  licence: adapted(own),
  files: (
    [
      ["train", train],
      ["test", test],
    ] as const
  ).map(([split, known]) => ({
    url: `${llmAdaptersRaw}/dataset/${folder}/${split}.json`,
    path: `llm_adapt/${folder}/${split}.json`,
    ...known,
  })),
});

const gsm8kRaw =
  "https://raw.githubusercontent.com/openai/grade-school-math/3101c7d5072418e28b9008a6636bde82a006892c/grade_school_math/data";
const mmluRoot =
  "https://huggingface.co/datasets/cais/mmlu/resolve/c30699e8356da336a370243923dbaf21066bb9fe/all";
const e2eRaw =
  "https://raw.githubusercontent.com/tuetschek/e2e-dataset/ab0d967dd5729ce455ef14ba9ffafc456a335264";
const e2eCleanedRaw =
  "https://raw.githubusercontent.com/tuetschek/e2e-cleaning/164acdf986146d76f18893b3de9488725deda4c2/cleaned-data";
const wikiRaw =
  "https://raw.githubusercontent.com/pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2";

/**
 * Every data set that can be fetched, by the name of --dataset: addresses that name a revision where the publisher has such, what
 * the files are checked against, and the terms.
 */
export const dataSources = {
  common_170k: {
    title: "commonsense_170k of LLM-Adapters: the train rows of the eight sets, mixed",
    page: llmAdaptersPage,
    licence: adapted("the eight sets' own"),
    files: [
      {
        url: `${llmAdaptersRaw}/ft-training_set/commonsense_170k.json`,
        path: "llm_adapt/commonsense_170k/commonsense_170k.json",
        ...inTree("529e426b33d4cdb1d0c4a275a1a7245ad081fd91"),
      },
    ],
    byHand: "The publisher has one file: hira data split makes train, validation and test of it.",
  },
  boolq: adaptedSet("boolq", "BoolQ", "CC BY-SA 3.0", {
    train: reckoned(2599507, "5ccbaceebaddc69765e1c4a363632196b81851d303696672165ab59ec4e48c83"),
    test: reckoned(899151, "89df2397cbca81dc31adcc6f7f5b635821aa0565aafde46725b2b4bd39b4dfa9"),
  }),
  piqa: adaptedSet("piqa", "PIQA", "AFL 3.0", {
    train: reckoned(8039815, "d750ea06e70ce6af746f8315d2952a0a1488520794f934fd1f000286575e5702"),
    test: reckoned(913157, "3860d11b9b42e590b6b4bbc1643214d373ed0b0d4ac62fcc7bdceb8e044ad141"),
  }),
  siqa: adaptedSet("social_i_qa", "Social IQa", "CC BY 4.0", {
    train: reckoned(14379571, "1ca995d6055a6be053bb54b4b4c7abe4cd0323940079071932c1f9129d589b17"),
    test: reckoned(843748, "71543f41127451945379d106ffedaef502f1c8770dff6d2f543aca85e3080b1d"),
  }),
  hellas: adaptedSet("hellaswag", "HellaSwag", "MIT", {
    train: inTree("ca68dc85fc2a2f73c9b1b8b0823cc41a8f669718"),
    test: reckoned(11099046, "3ea7e99795e63a01f2f5e9ddbc4dca964d9ebb22f04201e64d1ac043be51ab61"),
  }),
  winog: adaptedSet("winogrande", "WinoGrande", "CC BY", {
    train: reckoned(24772666, "154d4fc3ef6b065aff1b738150f3fbd8d497f8e32d7aaae114991a2ad912ae79"),
    test: reckoned(497409, "6946f5209e7114c65c6d04f8f644c5a061af20d730b1cfe158fff3dc44076fb9"),
  }),
  arce: adaptedSet("ARC-Easy", "ARC-Easy", "CC BY-SA 4.0", {
    train: reckoned(1092324, "6a06cece3dec32f4fb1c1b0fc29dab14be7cf3053b417290dbc6cd845359f5ff"),
    test: reckoned(1157216, "3f32a84716ca6d57d38728bf80cc8117aecd17445c2cf29a68b571b810eb82dc"),
  }),
  arcc: adaptedSet("ARC-Challenge", "ARC-Challenge", "CC BY-SA 4.0", {
    train: reckoned(585556, "a9debff28aafed86a08211dc3584a3b6cb38edca8c56bb34cd5002ed54aeebfb"),
    test: reckoned(622510, "4a89ce368ae01a71d268d9851686738b2a0a1d84271116bab49a1dd2b48ecad7"),
  }),
  obqa: adaptedSet("openbookqa", "OpenBookQA", "Apache-2.0", {
    train: reckoned(1987446, "a1e094eeea01f70c0baa880f37497b26700ae99b243927b9c529984de9b1fe90"),
    test: reckoned(202545, "8479930f7b8a26052c78250280b5465a4016ca7fc806af440d0f37e243f3099e"),
  }),
  gsm8k: {
    title: "GSM8K: OpenAI's train rows, LLM-Adapters' form of the test rows",
    page: "https://github.com/openai/grade-school-math",
    licence: oneLicence(
      "MIT; test rows ODC-By 1.0",
      "https://github.com/openai/grade-school-math/blob/master/LICENSE",
      true,
    ),
    files: [
      {
        url: `${gsm8kRaw}/train.jsonl`,
        path: "llm_adapt/gsm8k/train.jsonl",
        ...reckoned(4166206, "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"),
      },
      {
        url: `${llmAdaptersRaw}/dataset/gsm8k/test.json`,
        path: "llm_adapt/gsm8k/test.json",
        ...reckoned(824475, "2cc616a1e0b23ea1df29370476365cde71c4e0aa823fb06cc194c5a8a9381abe"),
      },
    ],
  },
  meta_math: {
    title: "MetaMathQA, 395,000 rows",
    page: "https://huggingface.co/datasets/meta-math/MetaMathQA",
    licence: oneLicence("MIT", "https://huggingface.co/datasets/meta-math/MetaMathQA", false),
    files: [
      {
        url: "https://huggingface.co/datasets/meta-math/MetaMathQA/resolve/aa4f34d3d2d3231299b5b03d9b3e5a20da45aa18/MetaMathQA-395K.json",
        path: "meta_math/train.json",
        ...asTold("fb39a5d8c05c042ece92eae37dfd5ea414a5979df2bf3ad3b86411bef8205725"),
      },
    ],
    byHand:
      "The publisher has train rows only, and the original's test rows are not published: put rows of your own beside them as test.json, such as GSM8K's test questions.",
  },
  mmlu: {
    title: "MMLU, 57 subjects",
    page: "https://huggingface.co/datasets/cais/mmlu",
    licence: oneLicence("MIT", "https://github.com/hendrycks/test/blob/master/LICENSE", false),
    files: (["dev", "validation", "test"] as const).map((split) => ({
      url: `${mmluRoot}/${split}-00000-of-00001.parquet`,
      path: `mmlu/${split}.parquet`,
    })),
  },
  convai2: {
    title: "ConvAI2 (PersonaChat), ParlAI's text files",
    page: "https://parl.ai/docs/tasks.html#convai2",
    licence: {
      name: "none given",
      url: "https://github.com/facebookresearch/ParlAI/blob/main/LICENSE",
      forbids:
        "The data come without a licence (ParlAI's code is MIT): nobody has said that copies may be given on.",
      isRead: false,
    },
    files: [
      {
        url: "http://parl.ai/downloads/convai2/convai2_fix_723.tgz",
        path: "convai2/convai2_fix_723.tgz",
        ...asTold("d0ae89defe2fd0b0a4221eaa642a457d7d40cef475f54798119c7f3b8dd9361d"),
        archive: "tar",
        members: [
          {
            from: "train_self_original_no_cands.txt",
            path: "convai2/train_self_original_no_cands.txt",
          },
          {
            from: "valid_self_original_no_cands.txt",
            path: "convai2/valid_self_original_no_cands.txt",
            hash: ofCopy("7e26e8a266583dfe21fd2df4c651a2831dceeb7c87be9c7bb517974d9979c363"),
          },
        ],
      },
    ],
  },
  e2e_nlg: {
    title: "E2E NLG",
    page: "https://github.com/tuetschek/e2e-dataset",
    licence: ccBySa("4.0", true),
    files: [
      {
        url: `${e2eRaw}/trainset.csv`,
        path: "e2e/train.csv",
        ...inTree("fa3a5e1124d2aa0d768881e38f8ee73e63d5880d"),
      },
      {
        url: `${e2eRaw}/devset.csv`,
        path: "e2e/validation.csv",
        ...reckoned(1161305, "fc26b78cdb849c80545f513b223d1e051138b43882eeb79e3eb153e689c864f9"),
      },
      {
        url: `${e2eRaw}/testset_w_refs.csv`,
        path: "e2e/test.csv",
        ...reckoned(1310822, "edc8db685e39bb9824d5bd70c18b1c9b0412d14b527aa960e2d1c8251ee15ccd"),
      },
    ],
  },
  e2e_cleaned: {
    title: "E2E NLG, cleaned",
    page: "https://github.com/tuetschek/e2e-cleaning",
    licence: ccBySa("4.0", false),
    files: [
      {
        url: `${e2eCleanedRaw}/train-fixed.no-ol.csv`,
        path: "e2e_nlg_cleaned/train.csv",
        ...inTree("e20296cac3a1df19254e06d7c4132bc6e6ae088f"),
      },
      {
        url: `${e2eCleanedRaw}/devel-fixed.no-ol.csv`,
        path: "e2e_nlg_cleaned/validation.csv",
        ...reckoned(1581285, "bb88df2565826a463f96e93a5ab69a8c6460de54f2e68179eb94f0019f430d4d"),
      },
      {
        url: `${e2eCleanedRaw}/test-fixed.csv`,
        path: "e2e_nlg_cleaned/test.csv",
        ...reckoned(1915378, "99b43c2769a09d62fc5d37dcffaa59d4092bcffdc611f226258681df61269b17"),
      },
    ],
  },
  dailydialog: {
    title: "DailyDialog",
    page: "https://aclanthology.org/I17-1099/",
    licence: {
      name: "CC BY-NC-SA 4.0",
      url: "https://creativecommons.org/licenses/by-nc-sa/4.0/",
      forbids: `No commercial use. ${shareAlike}`,
      isRead: false,
    },
    files: [
      {
        url: "https://aclanthology.org/attachments/I17-1099.Datasets.zip",
        path: "dailydialog/I17-1099.Datasets.zip",
        archive: "zip",
        conversion: "dailydialog",
        members: [
          {
            from: "EMNLP_dataset/train.zip",
            path: "dailydialog/train.jsonl",
            hash: ofCopy("6191257f8250da0e045bfd1d017645e15b2358df975ec4c5c431a5a1f99662a4"),
          },
          {
            from: "EMNLP_dataset/validation.zip",
            path: "dailydialog/validation.jsonl",
            hash: ofCopy("f068cf7526a56ab5f26e99b74ce9edbc2766f7b060a3c6cef035920b0dd28153"),
          },
          {
            from: "EMNLP_dataset/test.zip",
            path: "dailydialog/test.jsonl",
            hash: ofCopy("5f9526a5ce4b8af4ca237aa3ff38cbf03becbc596c70b0974d7f5f9af2ea0615"),
          },
        ],
      },
    ],
  },
  samsum: {
    title: "SAMSum, messenger dialogues with summaries",
    page: "https://arxiv.org/abs/1911.12237",
    licence: {
      name: "CC BY-NC-ND 4.0",
      url: "https://creativecommons.org/licenses/by-nc-nd/4.0/",
      forbids:
        "No commercial use, and no changed copies may be given on, such as the set in another form.",
      isRead: true,
    },
    files: [
      {
        url: "https://arxiv.org/src/1911.12237v2/anc/corpus.7z",
        path: "samsum/corpus.7z",
        archive: "by hand",
        members: [
          {
            from: "train.json",
            path: "samsum/train.json",
            hash: ofCopy("c0df0898ad4322462cb73959f0ca820b31c4dc27e44b1ef64fbc34f7e12f1cb5"),
          },
          {
            from: "val.json",
            path: "samsum/val.json",
            hash: ofCopy("f291b34ea2a851c4fd67bc9e1c05003f0dde2c2ae1a501ba733b9d97b6166349"),
          },
          {
            from: "test.json",
            path: "samsum/test.json",
            hash: ofCopy("eb5ac232d04982fdf70766b10bd07223732d8de0b817a0ab2a30a79ea99a693a"),
          },
        ],
      },
    ],
    byHand:
      "hira does not unpack 7z: run 7z x corpus.7z in that folder (Debian: apt install 7zip), then this command once more, which checks the three files.",
  },
  sst2: {
    title: "SST-2 as GLUE has it: sentences of film reviews, negative or positive",
    page: "https://gluebenchmark.com/tasks",
    licence: {
      name: "none stated",
      url: "https://nlp.stanford.edu/sentiment/",
      isRead: false,
    },
    files: [
      {
        url: "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip",
        path: "sst2/SST-2.zip",
        archive: "zip",
        members: [
          {
            from: "SST-2/train.tsv",
            path: "sst2/train.tsv",
            hash: ofCopy("48eac26399f8456935f81dd9e3a745c1430adb6c62e233ccfe22db4a0d15d1d1"),
          },
          {
            from: "SST-2/dev.tsv",
            path: "sst2/dev.tsv",
            hash: ofCopy("54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0"),
          },
        ],
      },
    ],
  },
  wikitext2: {
    title: "WikiText-2: tokens as PyTorch's examples have them, and the raw text",
    page: "https://huggingface.co/datasets/Salesforce/wikitext",
    licence: ccBySa("3.0", false),
    files: [
      {
        url: `${wikiRaw}/train.txt`,
        path: "wikitext-2/wiki.train.tokens",
        ...reckoned(10797148, "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f"),
      },
      {
        url: `${wikiRaw}/valid.txt`,
        path: "wikitext-2/wiki.valid.tokens",
        ...reckoned(1121681, "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
      },
      {
        url: `${wikiRaw}/test.txt`,
        path: "wikitext-2/wiki.test.tokens",
        ...reckoned(1256449, "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
      },
      {
        url: "https://huggingface.co/datasets/ggml-org/ci/resolve/927b3642933080f1b0e811e2f916e14c292992f9/wikitext-2-raw-v1.zip",
        path: "wikitext-2-raw/wikitext-2-raw-v1.zip",
        ...asTold("ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11"),
        archive: "zip",
        members: [
          { from: "wiki.train.raw", path: "wikitext-2-raw/wiki.train.raw" },
          { from: "wiki.valid.raw", path: "wikitext-2-raw/wiki.valid.raw" },
          {
            from: "wiki.test.raw",
            path: "wikitext-2-raw/wiki.test.raw",
            hash: ofCopy("4f3e427e4aff23acff917a8a51aeae21bf12832256e26914c8fc250dcef4103c"),
          },
        ],
      },
    ],
  },
} as const satisfies Readonly<Record<string, DataSource>>;

/** The name of a set that can be fetched. */
export type SourceName = keyof typeof dataSources;

/** The names in the table's order. */
export const sourceNames = Object.keys(dataSources) as readonly SourceName[];

/** A set's source. */
export const sourceOf = (name: SourceName): DataSource => dataSources[name];

/** Whether `hira data fetch` knows where the set of this name is published. */
export const isSourceName = (name: string): name is SourceName => Object.hasOwn(dataSources, name);
