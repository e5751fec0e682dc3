/** The standard normal's 97.5 % quantile. */
export const z95 = 1.959963984540054;

/**
 * Wilson's 95 % interval of a share, in percent.
 *
 * (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
 * Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
 */
export const wilsonInterval = (right: number, rows: number): Interval => {
  const p = right / rows;
  const z2 = z95 * z95;
  const center = p + z2 / (2 * rows);
  const reach = z95 * Math.sqrt((p * (1 - p)) / rows + z2 / (4 * rows * rows));
  const scale = 100 / (1 + z2 / rows);
  return {
    low: Math.max(0, (center - reach) * scale),
    high: Math.min(100, (center + reach) * scale),
  };
};

/** In percent. */
export interface Interval {
  readonly low: number;
  readonly high: number;
}
