import { readdir, readFile } from "node:fs/promises";
import { builtinModules } from "node:module";
import { dirname, join, relative } from "node:path";
import test from "ava";
import ts from "typescript";

/** Every room, the lowest first: a room imports from itself and from those before it. */
const rooms = [
  "core",
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
  "evaluate",
  "cli",
];

/** Packages that one room alone knows. */
const guarded: Readonly<Record<string, string>> = {
  "onnxruntime-node": "runtime",
  koffi: "runtime",
  "@xenova/transformers": "tokenizer",
  jsonlines: "report",
  "cli-progress": "cli",
  commander: "cli",
  dotenv: "cli",
};

interface Import {
  readonly from: string;
  readonly to: string;
  /** `import type`: nothing of it is left at run time. */
  readonly typeOnly: boolean;
}

const roomOf = (path: string): string => path.split("/")[0] ?? "";

const sources = async (): Promise<ReadonlyMap<string, string>> => {
  const entries = await readdir("src", { recursive: true });
  const paths = entries.map((path) => path.replaceAll("\\", "/")).filter((p) => p.endsWith(".ts"));
  const texts = paths.map(
    async (path) => [path, await readFile(join("src", path), "utf8")] as const,
  );
  return new Map(await Promise.all(texts));
};

const typeOnlyTargets = (text: string): ReadonlySet<string> => {
  const { statements } = ts.createSourceFile("source.ts", text, ts.ScriptTarget.ESNext);
  return new Set(
    statements.flatMap((statement) =>
      ts.isImportDeclaration(statement) && statement.importClause?.isTypeOnly === true
        ? [(statement.moduleSpecifier as ts.StringLiteral).text]
        : [],
    ),
  );
};

/** What every file imports, static or dynamic: a path under src, or a package's name. */
const importsOf = (files: ReadonlyMap<string, string>): readonly Import[] =>
  [...files].flatMap(([from, text]) => {
    const types = typeOnlyTargets(text);
    return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }): Import => {
      const typeOnly = types.has(fileName);
      if (!fileName.startsWith(".")) return { from, to: fileName, typeOnly };
      const path = relative("src", join("src", dirname(from), fileName)).replaceAll("\\", "/");
      return { from, to: path.replace(/\.js$/, ".ts"), typeOnly };
    });
  });

test("every room is known, and its files import only from rooms that come before it", async (t) => {
  const files = await sources();
  const unknown = [...files.keys()].filter((path) => !rooms.includes(roomOf(path)));
  t.deepEqual(unknown, []);
  const inside = importsOf(files).filter(({ to }) => files.has(to));
  t.true(inside.length > files.size, "imports are found at all");
  const upward = inside.filter(
    ({ from, to }) => rooms.indexOf(roomOf(to)) > rooms.indexOf(roomOf(from)),
  );
  t.deepEqual(upward, []);
});

test("no files need one another in a circle at run time", async (t) => {
  const files = await sources();
  const targets = new Map<string, string[]>();
  for (const { from, to, typeOnly } of importsOf(files))
    if (files.has(to) && !typeOnly) targets.set(from, [...(targets.get(from) ?? []), to]);
  const done = new Set<string>();
  const circles: string[] = [];
  const walk = (path: string, way: readonly string[]): void => {
    const start = way.indexOf(path);
    if (start >= 0) circles.push([...way.slice(start), path].join(" -> "));
    if (start >= 0 || done.has(path)) return;
    for (const target of targets.get(path) ?? []) walk(target, [...way, path]);
    done.add(path);
  };
  for (const path of files.keys()) walk(path, []);
  t.deepEqual(circles, []);
});

test("packages are imported only by the room that they belong to", async (t) => {
  const strangers = importsOf(await sources()).filter(({ from, to }) => {
    const name = Object.keys(guarded).find((known) => to === known || to.startsWith(`${known}/`));
    return name !== undefined && guarded[name] !== roomOf(from);
  });
  t.deepEqual(strangers, []);
});

test("every imported package is a dependency in package.json", async (t) => {
  const { dependencies } = JSON.parse(await readFile("package.json", "utf8")) as {
    readonly dependencies: Readonly<Record<string, string>>;
  };
  const packages = importsOf(await sources())
    .map(({ to }) => to)
    .filter((to) => !to.endsWith(".ts") && !to.startsWith("node:") && !builtinModules.includes(to))
    .map((to) => to.split("/", to.startsWith("@") ? 2 : 1).join("/"));
  t.deepEqual(
    [...new Set(packages)].filter((name) => !(name in dependencies)),
    [],
  );
});
