"""Writes test/fixtures/python-format/values.json: numbers and JSON as Python prints them.

Run: python3 scripts/reference/python_format.py (any Python 3.8 or later; the standard library is enough)
"""

import json
import random
import struct
from pathlib import Path

random.seed(7)
floats = [0.0, -0.0, 1.0, -1.0, 0.1, 0.001, 1e-3, 1e-4, 9.9999e-5, 1e-5, 2e-5, 1e15, 1e16, 9999999999999998.0]
floats += [123456789012345680.0, 1e21, 1e22, 1.5e300, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308]
floats += [1.125, 1.375, 1.005, 1.015, 2.5, 1025.0, 1015.0, 0.00390625, 9.995, 9.994999, 99.95, 3e-4, 5e-4, 0.2, 1 / 3]
floats += [random.uniform(-10, 10) * 10.0 ** random.randint(-20, 20) for _ in range(200)]
floats += [
    value
    for value in (struct.unpack("<d", random.randbytes(8))[0] for _ in range(200))
    if value == value and abs(value) != float("inf")
]
# Every exact tie of three digits that a short binary fraction can make.
floats += [n / 8 for n in range(8, 80) if (n * 1000) % 8 == 0] + [n / 1000 for n in range(1005, 1100, 10)]
floats += [float(n) for n in range(1005, 10000, 235)]

pairs = [(1843200, 775873280), (884736, 223843584), (370178, 108680450), (0, 5), (5, 5), (40370176, 8070631424)]
texts = ["plain", "quote \" slash \\ /", "tab\tline\nreturn\rback\bform\f", "\u0000\u001f\u007f", "caf\u00e9", "\u2028\u2029", "\U0001f600 \ud83d"]
value = {"a": [1, 1.0, None, True, False, 1e-5, -0.0, 2**70], "b": {}, "c": [], "d": {"lr": 0.001, "nan": float("nan")}}
out = {
    "floats": [{"value": struct.pack(">d", f).hex(), "repr": repr(f), "two": format(f, ".2e")} for f in floats],
    "percents": [{"trainable": t, "all": a, "text": f"{100 * t / a}"} for t, a in pairs],
    "texts": [
        {"text": t, "ascii": json.dumps(t), "unicode": json.dumps(t, ensure_ascii=False)} for t in texts
    ],
    "value": json.dumps(value),
}
path = Path(__file__).parents[2] / "test" / "fixtures" / "python-format" / "values.json"
path.parent.mkdir(parents=True, exist_ok=True)
path.write_text(json.dumps(out, indent=0) + "\n")
