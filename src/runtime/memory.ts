/** Physical memory of this process now, in bytes: with the pages of mapped files that it has touched. */
export const currentMemoryBytes = (): number => process.memoryUsage.rss();

/** The most physical memory that this process has held so far, in bytes; counted as currentMemoryBytes counts. */
export const peakMemoryBytes = (): number => process.resourceUsage().maxRSS * 1024;
