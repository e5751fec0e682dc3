/** Columns where neither a terminal nor COLUMNS says how many there are. */
const usualColumns = 80;

/** How many columns a stream shows: those of its terminal, else what COLUMNS says, else 80. */
export const columnsOf = (
  stream: { readonly columns?: number | undefined },
  environment: Readonly<Record<string, string | undefined>>,
): number => {
  // A terminal that does not know its size says 0.
  if (stream.columns) return stream.columns;
  const said = environment["COLUMNS"] ?? "";
  return /^[1-9]\d{0,5}$/.test(said) ? Number(said) : usualColumns;
};

/** Pieces of a word that is too long for a line: after "-", "," and "/" if that suffices, else wherever the line is full. */
const breakWord = (word: string, width: number): readonly string[] =>
  (word.match(/[^-,/]*[-,/]|[^-,/]+$/g) ?? []).flatMap(
    (part) => part.match(new RegExp(`.{1,${String(width)}}`, "gsu")) ?? [],
  );

/** Lines of at most `width` columns, with a blank between two pieces unless the second is glued to the first. */
const fill = (
  pieces: readonly { readonly text: string; readonly glued: boolean }[],
  width: number,
): readonly string[] => {
  const lines: string[] = [];
  for (const { text, glued } of pieces) {
    const last = lines.at(-1);
    const joined = last === undefined ? text : `${last}${glued ? "" : " "}${text}`;
    if (last === undefined || joined.length > width) lines.push(text);
    else lines[lines.length - 1] = joined;
  }
  return lines;
};

/**
 * Lines of at most `columns` columns. Line breaks of the text stay; a word that is longer than a line is broken.
 *
 * @param indent in front of every line after the first
 */
export const wrapText = (text: string, columns: number, indent = ""): readonly string[] => {
  const width = Math.max(1, columns - indent.length);
  const lines = text.split("\n").flatMap((line) => {
    const words = line.split(/ +/).filter((word) => word !== "");
    const pieces = words.flatMap((word) =>
      (word.length <= width ? [word] : breakWord(word, width)).map((piece, i) => ({
        text: piece,
        glued: i > 0,
      })),
    );
    return pieces.length === 0 ? [""] : fill(pieces, width);
  });
  return lines.map((line, i) => (i === 0 ? line : indent + line));
};

/** A command line, indented, over several lines where it is long, which a shell reads as one: each but the last ends in a backslash. */
export const wrapCommand = (line: string, columns: number, indent: string): readonly string[] => {
  const words = line.match(/(?:"[^"]*"|'[^']*'|[^\s"'])+/g) ?? [];
  const pieces = words.map((text) => ({ text, glued: false }));
  const width = columns - indent.length;
  const lines = line.length <= width ? [line] : fill(pieces, width - 4);
  return lines.map(
    (text, i) => `${indent}${i === 0 ? "" : "  "}${text}${i < lines.length - 1 ? " \\" : ""}`,
  );
};
