"""Parquet files for test/datasets/read-parquet.test.ts, with made-up rows: python parquet_files.py OUT_FOLDER

One file a codec, as the Hub's data set library writes them (text, lists of text, whole numbers of 64 bits). Ran with pyarrow.
"""

import sys

import pyarrow as pa
import pyarrow.parquet as pq

rows = pa.table(
    {
        "subject": ["sums", "sums", "names"],
        "question": ["1 + 1?", "2 + 2?", "Wer heißt 日本?\nThe second line"],
        "choices": [["1", "2", "3", "4"], ["4", "5", "6", "7"], ["a", "b", "c", "ü"]],
        "answer": pa.array([1, 0, 3], pa.int64()),
    }
)
for codec in ("none", "snappy", "gzip", "zstd", "brotli", "lz4"):
    pq.write_table(rows, f"{sys.argv[1]}/questions-{codec}.parquet", compression=codec)
