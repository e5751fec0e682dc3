/** One measured shape. */
export interface ShapePoint {
  readonly batch: number;
  readonly length: number;
  /** Milliseconds of a step for each of its tokens. */
  readonly msPerToken: number;
  /** The same at the rate of the machine's matrix products. */
  readonly boundMsPerToken: number;
}

const size = {
  width: 920,
  height: 360,
  left: 64,
  right: 24,
  top: 56,
  bottom: 56,
  gap: 72,
} as const;

/** A round number at or above x: 1, 2 or 5 times a power of ten. */
export const roundUp = (x: number): number => {
  const power = 10 ** Math.floor(Math.log10(x));
  return ([1, 2, 5, 10].find((step) => step * power >= x) ?? 10) * power;
};

const text = (x: number, y: number, words: string, more = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${more}>${words}</text>`;

/** One panel: milliseconds a token over the logarithm of what changes, measured and bound. */
const panel = (
  points: readonly ShapePoint[],
  {
    x0,
    top,
    title,
    axis,
    of,
  }: {
    readonly x0: number;
    /** The largest value of the axis. */
    readonly top: number;
    readonly title: string;
    readonly axis: string;
    readonly of: (point: ShapePoint) => number;
  },
): readonly string[] => {
  const width = (size.width - size.left - size.right - size.gap) / 2;
  const bottom = size.height - size.bottom;
  const places = points.map((point) => Math.log2(of(point)));
  const [least, most] = [Math.min(...places), Math.max(...places)];
  const x = (place: number): number => x0 + ((place - least) / Math.max(1, most - least)) * width;
  const y = (value: number): number => bottom - (value / top) * (bottom - size.top);
  const line = (value: (point: ShapePoint) => number): string =>
    points
      .map((point, i) => `${x(places[i] ?? 0).toFixed(1)},${y(value(point)).toFixed(1)}`)
      .join(" ");
  const ticks = Array.from({ length: 6 }, (_, i) => (i * top) / 5);
  return [
    text(x0, size.top - 16, title, 'class="title"'),
    ...ticks.flatMap((tick) => [
      `<line x1="${x0}" x2="${(x0 + width).toFixed(1)}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}" class="grid"/>`,
      text(x0 - 8, y(tick) + 4, String(Number(tick.toPrecision(3))), 'text-anchor="end"'),
    ]),
    ...points.map((point, i) =>
      text(x(places[i] ?? 0), bottom + 20, String(of(point)), 'text-anchor="middle"'),
    ),
    text(x0 + width / 2, bottom + 42, axis, 'text-anchor="middle"'),
    `<polyline points="${line(({ boundMsPerToken }) => boundMsPerToken)}" class="bound"/>`,
    `<polyline points="${line(({ msPerToken }) => msPerToken)}" class="measured"/>`,
    ...points.map(
      (point, i) =>
        `<circle cx="${x(places[i] ?? 0).toFixed(1)}" cy="${y(point.msPerToken).toFixed(1)}" r="3.5"/>`,
    ),
  ];
};

/** A picture of a step's time a token against length and batch, each beside what the machine's matrix products would take: SVG. */
export const shapesPlot = (
  byLength: readonly ShapePoint[],
  byBatch: readonly ShapePoint[],
  title: string,
): string => {
  const top = roundUp(
    Math.max(...[...byLength, ...byBatch].map(({ msPerToken }) => msPerToken)) * 1.02,
  );
  const second = size.left + (size.width - size.left - size.right + size.gap) / 2;
  const [row] = byLength;
  const [column] = byBatch;
  const legend = size.width - size.right - 300;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" font-family="sans-serif" font-size="12">`,
    "<style>.title{font-weight:bold}.grid{stroke:#ddd}.measured{fill:none;stroke:#1f5fa8;stroke-width:2}.bound{fill:none;stroke:#b4441f;stroke-width:2;stroke-dasharray:6 4}circle{fill:#1f5fa8}</style>",
    `<rect width="${size.width}" height="${size.height}" fill="#fff"/>`,
    text(size.left, 20, title, 'font-size="13"'),
    `<line x1="${legend}" x2="${legend + 24}" y1="16" y2="16" class="measured"/>`,
    text(legend + 30, 20, "measured"),
    `<line x1="${legend + 110}" x2="${legend + 134}" y1="16" y2="16" class="bound"/>`,
    text(legend + 140, 20, "at the rate of matrix products"),
    ...panel(byLength, {
      ...{ x0: size.left, top, axis: "tokens a row", of: ({ length }) => length },
      title: `ms a token, batch ${row?.batch ?? ""}`,
    }),
    ...panel(byBatch, {
      ...{ x0: second, top, axis: "rows a batch", of: ({ batch }) => batch },
      title: `ms a token, ${column?.length ?? ""} tokens a row`,
    }),
    "</svg>",
  ].join("\n")}\n`;
};
