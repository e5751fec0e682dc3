/** Characters that no shell takes for anything but themselves. */
const plain = /^[\w@%+=:,./-]+$/;

/** A text as one word of a command line: as it stands where that will do, else in single quotes, behind its flag's name if it has one. */
const shellWord = (text: string): string => {
  if (plain.test(text)) return text;
  const [, flag = "", value = ""] = /^(--\w[\w-]*=)?([^]*)$/.exec(text) ?? [];
  return `${flag}'${value.replaceAll("'", String.raw`'\''`)}'`;
};

/** A command line that a shell cuts into these very words. */
export const shellLine = (words: readonly string[]): string => words.map(shellWord).join(" ");
