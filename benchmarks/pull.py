"""Speed of ``chatui pull`` against ``hf download`` from a server on loopback.

Both take turns as complete processes with empty caches, so that other load affects both. ``chatui
pull`` also checks the hash of every file, which ``hf download`` does not.

    python benchmarks/pull.py [--megabytes 400] [--files 4] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER = HERE.parent / "tests" / "catalog" / "hub_server.py"
HUB_ID = "benchmark/model"


def make_repository(folder: Path, megabytes: int, files: int) -> int:
    """Write random weights in shards and return their size in bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    for number in range(1, files + 1):
        with (folder / f"model-{number:05}-of-{files:05}.safetensors").open("wb") as shard:
            for _ in range(megabytes // files):
                shard.write(os.urandom(1_000_000))
    return sum(file.stat().st_size for file in folder.iterdir())


def seconds_of(command: list[str], url: str, home: Path) -> float:
    """Return the duration of ``command`` with an empty cache in ``home``."""
    shutil.rmtree(home, ignore_errors=True)
    environment = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "CHATUI_HOME": str(home / "chatui"),
    }
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    hf = Path(sys.executable).with_name("hf")
    commands = {
        "hf download": [str(hf), "download", HUB_ID, "--quiet"],
        "chatui pull": [sys.executable, "-m", "chatui", "pull", HUB_ID],
    }
    with tempfile.TemporaryDirectory() as scratch:
        size = make_repository(Path(scratch, "served", HUB_ID), options.megabytes, options.files)
        server = subprocess.Popen(
            [sys.executable, str(SERVER), str(Path(scratch, "served"))],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            taken: dict[str, list[float]] = {name: [] for name in commands}
            for number in range(options.rounds + 1):
                for name, command in commands.items():
                    seconds = seconds_of(command, url, Path(scratch, "home"))
                    # The first round warms up the server and the page cache.
                    if number:
                        taken[name].append(seconds)
        finally:
            server.terminate()
            server.wait()
    print(f"{size / 1e6:.0f} MB in {options.files + 1} files, {options.rounds} rounds")
    speeds = {name: size / 1e6 / statistics.median(times) for name, times in taken.items()}
    for name, times in taken.items():
        each = " ".join(f"{seconds:.2f}" for seconds in times)
        print(f"{name:12} {speeds[name]:6.0f} MB/s (median of {each} s)")
    ratio = speeds["chatui pull"] / speeds["hf download"]
    print(f"chatui pull is at {ratio:.2f} × of hf download")


if __name__ == "__main__":
    main()
