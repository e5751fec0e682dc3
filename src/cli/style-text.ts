/** Where a program's text goes: process.stdout and process.stderr, or what a test puts in their place. */
export interface OutputStream {
  write(text: string): unknown;
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
}

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33 } as const;

/** Paints text on a terminal; elsewhere, and where NO_COLOR is set, leaves it as it is. See no-color.org. */
export type Painter = (style: keyof typeof codes, text: string) => string;

/** Paints text on a terminal; leaves it as it is elsewhere, under NO_COLOR (no-color.org) and under TERM=dumb. */
export const painterFor = (
  stream: OutputStream,
  environment: Readonly<Record<string, string | undefined>>,
): Painter => {
  const painted =
    stream.isTTY === true && !environment["NO_COLOR"] && environment["TERM"] !== "dumb";
  return (style, text) => (painted ? `\u001b[${String(codes[style])}m${text}\u001b[0m` : text);
};
