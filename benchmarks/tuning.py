"""Memory and time of ``chatui tune`` on plain and quantised weights.

Trains a wide Llama with random weights, one example per step, in a process with one thread for each
kind of weights. Prints the bytes of the weights, the peak (VmHWM of /proc, Linux only) without
Python and torch, and the processor time of a step, without the first.

    python benchmarks/tuning.py [--layers 6] [--tokens 512]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import models

FORMS = ("plain", "int8", "int4")
STEPS = 4


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def measure(folder: Path, weights: str, tokens: int) -> dict[str, float]:
    from chatui.engine.quantised import weight_bytes
    from chatui.engine.tuning import tuning_run
    from chatui.engine.tuning.lora_base import TuningOptions
    from chatui.messages import ModelSpec

    sizes: list[int] = []
    load = tuning_run.load_base

    def loaded(spec: ModelSpec) -> tuple[object, str, tuple[str, ...]]:
        base, family, notes = load(spec)
        sizes.append(weight_bytes(base))
        return base, family, notes

    tuning_run.load_base = loaded
    ids = [1 + (7 * n) % 15_000 for n in range(tokens)]
    examples = folder / "examples.jsonl"
    examples.write_text(json.dumps({"input_ids": ids, "labels": ids}) + "\n")
    times: list[float] = []
    before = peak()
    with tempfile.TemporaryDirectory() as target, contextlib.redirect_stdout(sys.stderr):
        tuning_run.tune(
            ModelSpec("m", str(folder), dtype="float32", weights=weights),
            examples,
            Path(target, "adapter"),
            TuningOptions(batch=1, epochs=STEPS),
            lambda _: times.append(time.process_time()),
        )
    step = (times[-1] - times[0]) / (STEPS - 1)
    return {"before": before, "weights": sizes[0], "peak": peak() - before, "step": step}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--tokens", type=int, default=512, help="tokens of the example")
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "WEIGHTS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(Path(options.one[0]), options.one[1], options.tokens)))
        return
    print(f"{'':8}{'weights, MiB':>14}{'peak, MiB':>12}{'a step, s':>12}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = models.llama_of(Path(temporary), options.layers, "bfloat16")
        for weights in FORMS:
            command = [sys.executable, __file__, "--one", str(folder), weights]
            command += ["--tokens", str(options.tokens)]
            one = os.environ | {"OMP_NUM_THREADS": "1"}
            ran = subprocess.run(command, capture_output=True, text=True, check=True, env=one)
            row = json.loads(ran.stdout.splitlines()[-1])
            size, most = row["weights"] / 2**20, row["peak"] / 2**20
            print(f"{weights:8}{size:14.0f}{most:12.0f}{row['step']:12.1f}")


if __name__ == "__main__":
    main()
