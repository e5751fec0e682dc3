import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import test from "ava";
import ts from "typescript";
import { methodFlags, peftTypes } from "../src/peft/registry.js";
import { defaultMethodOptions } from "./support/adapter-settings.js";

/** A folder of src may import from those before it. */
const rooms = [
  "core",
  "metrics",
  "graph",
  "runtime",
  "models",
  "peft",
  "tokenizer",
  "datasets",
  "distributed",
  "report",
  "train",
  "decode",
  "score",
  "runs",
  "cli",
];

const MAX_LINES = 450;
/** Files that may be longer, and why. */
const longFiles: Readonly<Record<string, string>> = {};

interface Import {
  readonly from: string;
}

interface SourceFile {
  /** Below src, with forward slashes. */
  readonly path: string;
  readonly room: string;
  readonly lines: number;
  readonly tree: ts.SourceFile;
  readonly imports: readonly Import[];
}

const root = fileURLToPath(new URL("../src", import.meta.url));

const visit = (node: ts.Node, see: (node: ts.Node) => void): void => {
  see(node);
  ts.forEachChild(node, (child) => visit(child, see));
};

/** Static imports, re-exports, import() in code and in types, and new URL("./x.js", import.meta.url), which starts workers. */
const readImports = (tree: ts.SourceFile): readonly Import[] => {
  const found: Import[] = [];
  const add = (specifier: ts.Node | undefined): void => {
    if (specifier && ts.isStringLiteralLike(specifier)) found.push({ from: specifier.text });
  };
  visit(tree, (node) => {
    if (ts.isImportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isExportDeclaration(node)) add(node.moduleSpecifier);
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node.argument.literal);
    else if (ts.isCallExpression(node)) {
      const { expression } = node;
      const loads =
        expression.kind === ts.SyntaxKind.ImportKeyword ||
        (ts.isIdentifier(expression) && expression.text === "require");
      if (loads) add(node.arguments[0]);
    } else if (ts.isNewExpression(node) && node.expression.getText(tree) === "URL") {
      const [target] = node.arguments ?? [];
      if (target && ts.isStringLiteralLike(target) && target.text.endsWith(".js")) add(target);
    }
  });
  return found;
};

const files: readonly SourceFile[] = readdirSync(root, { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts") && !path.endsWith(".d.ts"))
  .map((name) => {
    const text = readFileSync(join(root, name), "utf8");
    const path = name.split(sep).join("/");
    const tree = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
    return {
      path,
      room: path.split("/")[0] ?? "",
      lines: text.split("\n").length - 1,
      tree,
      imports: readImports(tree),
    };
  });

const known = new Set(files.map(({ path }) => path));

/** The file below src that a relative import means. */
const resolve = (file: SourceFile, { from }: Import): string | undefined =>
  from.startsWith(".")
    ? relative(".", normalize(join(dirname(file.path), from)))
        .split(sep)
        .join("/")
        .replace(/\.js$/, ".ts")
    : undefined;

test("src has only the rooms that the order names", (t) => {
  t.deepEqual(
    [...new Set(files.map(({ room }) => room))].filter((room) => !rooms.includes(room)),
    [],
  );
});

test("files import from rooms before their own alone", (t) => {
  const wrong = files.flatMap((file) =>
    file.imports.flatMap((item) => {
      const target = resolve(file, item);
      if (target === undefined) return [];
      const [own, other] = [file.room, target.split("/")[0] ?? ""].map((room) =>
        rooms.indexOf(room),
      );
      return other !== undefined && own !== undefined && other >= 0 && other <= own
        ? []
        : [`${file.path} imports ${item.from}`];
    }),
  );
  t.deepEqual(wrong, []);
});

test("every relative import is of a source file, by its compiled name", (t) => {
  const missing = files.flatMap((file) =>
    file.imports.flatMap((item) => {
      const target = resolve(file, item);
      return target === undefined || known.has(target) ? [] : [`${file.path} imports ${item.from}`];
    }),
  );
  t.deepEqual(missing, []);
});

test("no files import each other in a circle, not even for types", (t) => {
  const next = new Map(
    files.map((file) => [file.path, file.imports.flatMap((item) => resolve(file, item) ?? [])]),
  );
  const circles: string[] = [];
  const done = new Set<string>();
  const walk = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path);
    if (start >= 0) circles.push([...trail.slice(start), path].join(" -> "));
    if (start >= 0 || done.has(path)) return;
    for (const target of next.get(path) ?? []) walk(target, [...trail, path]);
    done.add(path);
  };
  for (const path of next.keys()) walk(path, []);
  t.deepEqual(circles, []);
});

/** Where `<object>.<property>` is used, for one of the properties, or for any. */
const uses = (object: string, properties?: readonly string[]): readonly string[] =>
  files.flatMap(({ path, tree }) => {
    const found: string[] = [];
    visit(tree, (node) => {
      if (!ts.isPropertyAccessExpression(node) || node.expression.getText(tree) !== object) return;
      if (properties && !properties.includes(node.name.text)) return;
      found.push(path);
    });
    return found;
  });

/** Paths that start with none of the given ones. */
const outside = (paths: readonly string[], ...allowed: readonly string[]): readonly string[] => [
  ...new Set(paths.filter((path) => !allowed.some((start) => path.startsWith(start)))),
];

test("only runtime knows onnxruntime-node and koffi", (t) => {
  const native = files.filter(({ imports }) =>
    imports.some(({ from }) => /^(onnxruntime|koffi)/.test(from)),
  );
  t.deepEqual(
    outside(
      native.map(({ path }) => path),
      "runtime/",
    ),
    [],
  );
  t.true(native.length > 0);
});

test("only cli touches the arguments, the exit code and the terminal", (t) => {
  t.deepEqual(
    outside(uses("process", ["argv", "exitCode", "exit"]), "cli/", "runtime/exit-hook.ts"),
    [],
  );
  t.deepEqual(outside(uses("process", ["stdout", "stderr", "stdin"]), "cli/"), []);
  t.deepEqual(outside(uses("console"), "cli/", "report/"), []);
});

test("no file hands on what another one defines", (t) => {
  const barrels = files.filter(({ tree }) =>
    tree.statements.some((node) => ts.isExportDeclaration(node) && node.moduleSpecifier),
  );
  t.deepEqual(
    barrels.map(({ path }) => path),
    [],
  );
});

test("every export has a docstring", (t) => {
  const bare = files.flatMap(({ path, tree }) =>
    tree.statements.flatMap((node) => {
      const isExported =
        ts.canHaveModifiers(node) &&
        node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true;
      return isExported && ts.getJSDocCommentsAndTags(node).length === 0
        ? [`${path}: ${node.getText(tree).split("\n", 1)[0] ?? ""}`]
        : [];
    }),
  );
  t.deepEqual(bare, []);
});

test(`no file is longer than ${MAX_LINES} lines, but for those with a reason`, (t) => {
  const long = files.filter(({ lines }) => lines > MAX_LINES).map(({ path }) => path);
  t.deepEqual(long.sort(), Object.keys(longFiles).sort());
});

/** Where a family is named outside of its own file, and why. */
const namesFamilies: Readonly<Record<string, string>> = {
  "models/blocks/": "a block's source, and config.json's words",
  "models/families.ts": "the registry",
  "models/families/": "the families",
  "models/gguf/": "another format's names of architectures and tokenizers",
  "cli/foreign-names.ts": "other programs",
  "tokenizer/": "the original's rule for pad tokens, and kinds of tokenizers",
};

test("no file outside of models/families names a family, and the registry alone imports one", (t) => {
  const naming = files.filter(({ tree, path }) => {
    const allowed = Object.keys(namesFamilies).some((place) => path.startsWith(place));
    return !allowed && /llama(?!\.cpp)|mistral|qwen|gemma|gpt-?2|distilbert/i.test(tree.text);
  });
  t.deepEqual(
    naming.map(({ path }) => path),
    [],
  );
  const importing = files.flatMap((file) =>
    file.imports.flatMap((item) => {
      const target = resolve(file, item) ?? "";
      const fits = file.path === "models/families.ts" || file.path.startsWith("models/families/");
      return target.startsWith("models/families/") && !fits ? [file.path] : [];
    }),
  );
  t.deepEqual(importing, []);
});

/** The files that may name methods, their flags and their options: their own, and what several of them share. */
const methodFiles = [
  ...peftTypes.map((name) => `peft/${name}.ts`),
  "peft/registry.ts",
  "peft/options/",
  "peft/formats/",
];

/** The texts of a file that stand for themselves, and the names of the properties that it knows. */
const wordsOf = ({ tree }: SourceFile): ReadonlySet<string> => {
  const words = new Set<string>();
  visit(tree, (node) => {
    if (ts.isStringLiteralLike(node)) words.add(node.text);
    else if (ts.isPropertyAccessExpression(node)) words.add(node.name.text);
    else if (ts.isPropertyAssignment(node) || ts.isPropertySignature(node))
      words.add(node.name.getText(tree));
    else if (ts.isBindingElement(node)) words.add((node.propertyName ?? node.name).getText(tree));
  });
  return words;
};

/** Which of the words stand in files other than those of methods and the given ones, as `path: word`. */
const naming = (words: readonly string[], allowed: Readonly<Record<string, string>>) => {
  const seen = files.flatMap((file) => {
    const found = wordsOf(file);
    return words.filter((word) => found.has(word)).map((word) => [file.path, word] as const);
  });
  const isAllowed = (path: string, places: readonly string[]): boolean =>
    places.some((place) => path.startsWith(place));
  return {
    wrong: seen
      .filter(([path]) => !isAllowed(path, [...methodFiles, ...Object.keys(allowed)]))
      .map(([path, word]) => `${path}: ${word}`),
    idle: Object.keys(allowed).filter((place) => !seen.some(([path]) => path.startsWith(place))),
  };
};

/** Where a flag of a method is named outside of the methods' files, and why. */
const namesMethodFlags: Readonly<Record<string, string>> = {
  "cli/original-flags.ts": "the 37 flags of train_hira.py in its order",
  "cli/flag-order.ts": "the order of the help",
  "cli/foreign-names.ts": "other programs",
  "cli/train-reads.ts": "start values, which --adapter brings with it",
  "report/output-jsonl.ts": "line 2 of output.jsonl as train_hira.py writes it",
  "report/metrics.ts": "a column of metrics.jsonl is called as the flag whose effect it tells",
  "runs/evaluation-files.ts": "lines 1 and 2 of output.jsonl, from what a run has recorded",
  "train/": "sparsity, a share of zeros",
  "peft/pruning.ts": "the same",
};

test("no file outside of the methods' own names a flag of a method", (t) => {
  t.deepEqual(naming(Object.keys(methodFlags), namesMethodFlags), { wrong: [], idle: [] });
});

/** Options whose names are words of their own elsewhere, and where these come from. */
const commonWords: Readonly<Record<string, string>> = {
  rank: "a numerical rank; and --rank_pattern, which every method of linear layers takes",
  alpha: "a factor of a product",
  dropout: "the model's",
  sparsity: "a share of zeros",
};

/** Where another option of a method is named outside of the methods' files, and why. */
const namesMethodOptions: Readonly<Record<string, string>> = {
  "report/": "line 2 of output.jsonl as train_hira.py writes it, and the name of its run folder",
  "runs/output-header.ts": "the same",
  "peft/virtual-tokens.ts": "what every method of virtual tokens has",
  "peft/method.ts": "the same",
  "train/loss-session.ts": "the same",
};

test("no file outside of the methods' own names an option of a method", (t) => {
  const options = Object.keys(defaultMethodOptions).filter((name) => !(name in commonWords));
  t.deepEqual(naming(options, namesMethodOptions), { wrong: [], idle: [] });
});

/** Where a method is named outside of its own files, and why. */
const namesMethods: Readonly<Record<string, string>> = {
  "report/run-folder.ts": "the name that train_hira.py gives to a run of HiRA",
  "cli/foreign-names.ts": "other programs",
  "models/gguf/export-gguf.ts": "llama.cpp's name of its adapters",
  "peft/adapter-init.ts": "names of tensors in files",
};

/** Where the file of a method is imported outside of the methods' own, and why. */
const importsMethods: Readonly<Record<string, string>> = {
  "cli/": "--peft_type=qlora says how the base is held, and --qlora_adapter what is trained on it",
  "peft/build-adapter.ts": "the same",
  "runs/check-model.ts": "the same",
  "runs/recorded-flags.ts": "the same",
  "runs/start-adapter.ts": "the same",
  "runs/merged-tensors.ts": "a model folder is what full fine-tuning leaves",
  "runs/open-trained.ts": "the same",
  "runs/output-header.ts":
    "line 2 of output.jsonl as train_hira.py writes it, which knows HiRA alone",
};

test("no file outside of the registry and the methods' own names a method", (t) => {
  // The program has the name of a method, and a prefix is a prefix.
  const names = peftTypes.filter((name) => name !== "hira" && name !== "prefix");
  t.deepEqual(naming(names, namesMethods).wrong, []);
  const importing = files.flatMap((file) =>
    file.imports.flatMap((item) => {
      const target = resolve(file, item) ?? "";
      const isMethod = peftTypes.some((name) => target === `peft/${name}.ts`);
      const places = [...methodFiles, ...Object.keys(importsMethods)];
      return isMethod && !places.some((place) => file.path.startsWith(place))
        ? [`${file.path}: ${target}`]
        : [];
    }),
  );
  t.deepEqual(importing, []);
});
