"""Peak memory of the engine's process while a model loads and replies, and memory after unloading.

Uses random-weight Llamas in several file formats and dtypes. The peak is VmHWM of /proc (Linux
only), including mapped pages of the files. The limit is 1.15 times the weights in their loaded
dtype, plus the KV cache. Then the embedded model replaces it in the same process; "left" is VmRSS.

    python benchmarks/memory.py [--layers 32]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import models

from chatui import locations
from chatui.backends.local import LocalBackend
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec
from chatui.sampling import SamplingSettings

CASES = (
    ("safetensors fp16 as float32", "float16", "float32", False, "plain"),
    (".bin fp16 as float32", "float16", "float32", True, "plain"),
    ("safetensors bf16 as bfloat16", "bfloat16", "bfloat16", False, "plain"),
    ("safetensors bf16 as int8", "bfloat16", "float32", False, "int8"),
    ("safetensors bf16 as int4", "bfloat16", "float32", False, "int4"),
)


def status(pid: int, name: str) -> int:
    """Return the bytes in a line of /proc/PID/status."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"/proc has no {name}")


async def load(backend: LocalBackend, spec: ModelSpec) -> Loaded:
    *_, last = [event async for event in backend.load(spec)]
    assert isinstance(last, Loaded)
    return last


async def measure(folder: Path, dtype: str, weights: str, cache_per_token: int) -> dict[str, float]:
    backend = LocalBackend()
    embedded = ModelSpec("embedded", str(locations.assets_folder() / "shiyou"), format="shiyou")
    spec = ModelSpec("m", str(folder), format="bloomz", dtype=dtype, weights=weights)
    loaded = await load(backend, spec)
    assert backend.pid is not None
    after_load = status(backend.pid, "VmHWM")
    settings = SamplingSettings(max_new_tokens=32, seed=1)
    request = GenerateRequest(models.HANZI * 8, sampling=settings)
    *_, done = [event async for event in backend.generate(request)]
    assert isinstance(done, Done)
    peak = status(backend.pid, "VmHWM")
    await load(backend, embedded)
    left = status(backend.pid, "VmRSS")
    await backend.close()
    cache = (done.prompt_tokens + done.output_tokens) * cache_per_token
    return {
        "weights": loaded.weight_bytes,
        "load_peak": after_load,
        "peak": peak,
        "cache": cache,
        "ratio": (peak - cache) / loaded.weight_bytes,
        "left": left,
        "seconds": loaded.load_seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--only", nargs="*", help="plain, int8, int4")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for name, stored, dtype, pickled, weights in CASES:
        if options.only and weights not in options.only:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = models.llama_of(Path(temporary), options.layers, stored)
            if pickled:
                models.to_bin(folder)
            width = 4 if dtype == "float32" else 2
            cache = 2 * options.layers * 2048 * width
            results[name] = asyncio.run(measure(folder, dtype, weights, cache))
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'GiB':30}{'weights':>9}{'load peak':>11}{'peak':>7}{'ratio':>7}{'left':>7}{'s':>6}")
    for name, row in results.items():
        gib = {key: value / (1 << 30) for key, value in row.items()}
        print(
            f"{name:30}{gib['weights']:9.2f}{gib['load_peak']:11.2f}{gib['peak']:7.2f}"
            f"{row['ratio']:7.2f}{gib['left']:7.2f}{row['seconds']:6.1f}"
        )


if __name__ == "__main__":
    main()
