"""Checks that TensorBoard itself reads our event files: every value through EventAccumulator, every tag over HTTP.

Run (tensorboard 2.x installed): python scripts/reference/check_tensorboard.py
It writes the events with scripts/reference/write-events.ts into a temporary folder, starts TensorBoard on the
loopback for a moment, and ends with "all checks passed" or an AssertionError.
"""

import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]


def float32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def expected_scalars():
    """Tag -> [(step, value)], as write-events.ts makes them."""
    steps, evaluations = range(1, 21), range(5, 21, 5)
    return {
        "train/loss": [(s, 1 / s) for s in steps],
        "train/grad_norm": [(s, s / 8) for s in steps],
        "train/learning_rate": [(s, 1e-3 * (1 - s / 20)) for s in steps],
        "train/epoch": [(s, s / 10) for s in steps],
        "eval/loss": [(s, 2 / s) for s in evaluations],
        "eval/runtime": [(s, 0.5) for s in evaluations],
        "eval/samples_per_second": [(s, 240) for s in evaluations],
        "eval/steps_per_second": [(s, 16) for s in evaluations],
        "train/train_runtime": [(20, 5)],
        "train/train_samples_per_second": [(20, 64)],
        "train/train_steps_per_second": [(20, 4)],
        "train/train_loss": [(20, 0.18)],
    }


TEXTS = {
    "args/text_summary": '{"lr": 0.001, "note": "é"}',
    "model_config/text_summary": '{"model_type": "llama"}',
}


def check_accumulator(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    scalars = expected_scalars()
    assert set(events.Tags()["scalars"]) == set(scalars), events.Tags()
    for tag, points in scalars.items():
        read = [(point.step, point.value) for point in events.Scalars(tag)]
        assert read == [(step, float32(value)) for step, value in points], (tag, read)
    walls = [point.wall_time for point in events.Scalars("train/loss")]
    assert all(abs(b - a - 0.25) < 1e-3 for a, b in zip(walls, walls[1:])), walls
    assert set(events.Tags()["tensors"]) == set(TEXTS), events.Tags()
    for tag, text in TEXTS.items():
        (point,) = events.Tensors(tag)
        assert [s.decode() for s in point.tensor_proto.string_val] == [text], point
        assert events.SummaryMetadata(tag).plugin_data.plugin_name == "text"
    print(f"EventAccumulator: {sum(map(len, scalars.values()))} values, {len(TEXTS)} texts")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get_json(url):
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


def check_server(run_folder):
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run_folder), "--host", "127.0.0.1", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}/data/plugin"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                scalars = get_json(f"{base}/scalars/tags")
                texts = get_json(f"{base}/text/tags")
                if scalars and texts:
                    break
            except OSError:
                pass
            assert time.monotonic() < deadline, "TensorBoard has not shown the run within a minute"
            time.sleep(0.5)
        (run,) = scalars
        assert set(scalars[run]) == set(expected_scalars()), scalars
        assert set(texts[run]) == set(TEXTS), texts
        query = urllib.parse.urlencode({"run": run, "tag": "train/loss"})
        points = get_json(f"{base}/scalars/scalars?{query}")
        assert [point[1] for point in points] == list(range(1, 21)), points
        query = urllib.parse.urlencode({"run": run, "tag": "args/text_summary"})
        assert "0.001" in get_json(f"{base}/text/text?{query}")[0]["text"]
        print(f"TensorBoard over HTTP: run {run}, {len(scalars[run])} scalar tags, {len(texts[run])} text tags")
    finally:
        server.terminate()
        server.wait(timeout=10)


with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["npx", "tsx", "scripts/reference/write-events.ts", folder], cwd=ROOT, check=True)
    (event_folder,) = Path(folder, "runs").iterdir()
    check_accumulator(event_folder)
    check_server(folder)
print("all checks passed")
