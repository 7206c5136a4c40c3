"""Duration of ``chatui models`` with 100 cached models, and whether it imports torch.

    python benchmarks/listing.py [--models 100] [--runs 7]

Each model is in a Hugging Face cache as the hub's client writes it: a snapshot with links to blobs
and an index of three shards. The time is that of the whole process, including the search for
servers on the usual ports.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "max_position_embeddings": 2048,
}
LAYERS = 300
COMMAND = """
import sys
from chatui.cli import main
sys.argv[1:] = ["models", "--json"]
code = main()
heavy = sorted({"torch", "transformers", "pydantic", "textual"} & set(sys.modules))
print(" ".join(heavy), file=sys.stderr)
sys.exit(code)
"""


def write_repository(cache: Path, number: int) -> None:
    """Create a repository in the cache with a few bytes instead of weights."""
    repository = cache / f"models--who--model-{number}"
    snapshot, blobs = repository / "snapshots" / "abc", repository / "blobs"
    for folder in (snapshot, blobs, repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shards = {f"model.layers.{n}.weight": f"model-{n % 3}.safetensors" for n in range(LAYERS)}
    contents = {
        "config.json": json.dumps(CONFIG),
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}),
        "model.safetensors.index.json": json.dumps({"weight_map": shards}),
        **dict.fromkeys(set(shards.values()), "weights"),
    }
    for name, content in contents.items():
        (blobs / name).write_text(content)
        (snapshot / name).symlink_to(blobs / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "hub"
        for number in range(args.models):
            write_repository(cache, number)
        environment = {**os.environ, "CHATUI_HOME": folder, "HF_HUB_CACHE": str(cache)}
        times: list[float] = []
        for _ in range(args.runs):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", COMMAND],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            times.append(time.perf_counter() - started)
        found = json.loads(done.stdout)
    cached = sum(entry["kind"] == "hub" and entry["usable"] for entry in found)
    print(f"{cached} cached models among {len(found)} rows")
    print(
        f"the whole command: {statistics.median(times):.2f} s, median of {args.runs} (aim <= 1 s)"
    )
    print(f"heavy modules imported: {done.stderr.strip() or 'none'}")


if __name__ == "__main__":
    main()
