"""Decode speed of chatui against generate() with TextIteratorStreamer in a thread.

Both take turns in one run with the same prompt, weights, sampling and thread settings, so that
other load affects both. --default-threads keeps torch's default threads for the reference, as in
demos. Weights are plain, int8 and int4. "memory" is the share of the memory bandwidth, measured
with a sum over 1 GB, that is used if each token reads the weights once. The wide Llama's weights
are much larger than the processor's caches. Prints a table; --json prints an object.

    python benchmarks/decode.py [--model embedded|llama|wide] [--tokens 96] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import models

from chatui import locations
from chatui.backends.local import LocalBackend
from chatui.engine.threads import limit_spinning
from chatui.messages import GenerateRequest, Loaded, ModelSpec, Token
from chatui.sampling import SamplingSettings

QUERY = "写一首关于春天的诗，" * 4
SETTINGS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
NEVER = 10**7
WEIGHTS = ("plain", "int8", "int4")


async def ours(backend: LocalBackend, tokens: int, seed: int) -> float:
    """Return tokens per second from the first token to the last, as received by the app."""
    settings = SamplingSettings(**SETTINGS, max_new_tokens=tokens, seed=seed)
    times = []
    async for event in backend.generate(GenerateRequest(QUERY, sampling=settings)):
        if isinstance(event, Token):
            times.append(time.perf_counter())
    return (len(times) - 1) / (times[-1] - times[0])


class Reference:
    """generate() in a second thread, with the text read from its streamer."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._torch = torch
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def __call__(self, tokens: int, seed: int) -> float:
        from transformers import TextIteratorStreamer

        streamer = TextIteratorStreamer(self._tokenizer, skip_prompt=True)
        ids = self._tokenizer(QUERY, return_tensors="pt", add_special_tokens=False)
        times: list[float] = []
        put = streamer.put

        def timed(value: Any) -> None:
            times.append(time.perf_counter())
            put(value)

        streamer.put = timed
        self._torch.manual_seed(seed)
        thread = Thread(
            target=self._model.generate,
            kwargs={
                **SETTINGS,
                "input_ids": ids["input_ids"],
                "attention_mask": ids["attention_mask"],
                "do_sample": True,
                "max_new_tokens": tokens,
                "min_new_tokens": tokens,
                "eos_token_id": None,
                "streamer": streamer,
            },
        )
        thread.start()
        for _ in streamer:
            pass
        thread.join()
        # The first call receives the prompt.
        return (len(times) - 2) / (times[-1] - times[1])


def bandwidth() -> float:
    """Return the bytes per second read by a sum over 1 GB."""
    import torch

    numbers = torch.ones(1 << 28)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        numbers.sum()
        times.append(time.perf_counter() - began)
    return numbers.nbytes / min(times)


async def measure(folder: Path, format: str, tokens: int, rounds: int) -> dict[str, Any]:
    """Return speed, ratios within one round and share of the bandwidth, by weights."""
    backends, sizes = {}, {}
    for weights in WEIGHTS:
        backend = backends[weights] = LocalBackend()
        spec = ModelSpec(
            "benchmark", str(folder), format=format, eos_ids=(NEVER,), weights=weights, device="cpu"
        )
        *_, loaded = [event async for event in backend.load(spec)]
        assert isinstance(loaded, Loaded)
        sizes[weights] = loaded.weight_bytes
        await ours(backend, 8, 0)
    reference = Reference(folder)
    reference(8, 0)
    rows: list[dict[str, float]] = []
    for seed in range(rounds):
        row = {name: await ours(backend, tokens, seed) for name, backend in backends.items()}
        rows.append(row | {"reference": reference(tokens, seed)})
    for backend in backends.values():
        await backend.close()
    reads = bandwidth()

    def median(of: Callable[[dict[str, float]], float]) -> float:
        return statistics.median(map(of, rows))

    result: dict[str, Any] = {"reference": median(lambda row: row["reference"])}
    for name in WEIGHTS:
        speed = median(lambda row: row[name])  # noqa: B023
        result[name] = {
            "speed": speed,
            "ratio": median(lambda row: row[name] / row["reference"]),  # noqa: B023
            "to plain": median(lambda row: row[name] / row["plain"]),  # noqa: B023
            "bytes": sizes[name],
            "of memory": speed * sizes[name] / reads,
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=("embedded", "llama", "wide", "both"), default="both")
    parser.add_argument("--layers", type=int, default=8, help="of the wide Llama")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--default-threads", action="store_true")
    options = parser.parse_args()
    if not options.default_threads:
        limit_spinning()
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        if options.model in ("embedded", "both"):
            folder = locations.assets_folder() / "shiyou"
            results["embedded"] = asyncio.run(
                measure(folder, "gpt2-chinese", options.tokens, options.rounds)
            )
        if options.model in ("llama", "both"):
            folder = models.llama_110m(Path(temporary))
            results["llama 110M fp32"] = asyncio.run(
                measure(folder, "bloomz", options.tokens, options.rounds)
            )
        if options.model == "wide":
            folder = models.llama_of(Path(temporary), options.layers, "float32")
            results[f"wide llama, {options.layers} layers"] = asyncio.run(
                measure(folder, "bloomz", options.tokens, options.rounds)
            )
    if options.json:
        print(json.dumps(results))
        return
    print("median tokens per second; ratios are medians of single rounds")
    print(f"{'':26}{'ours':>9}{'generate()':>12}{'ratio':>8}{'to plain':>10}{'MB':>8}{'memory':>8}")
    for name, row in results.items():
        for weights in WEIGHTS:
            one = row[weights]
            print(
                f"{name + ' ' + weights:26}{one['speed']:9.1f}{row['reference']:12.1f}"
                f"{one['ratio']:8.2f}{one['to plain']:10.2f}{one['bytes'] / 1e6:8.0f}"
                f"{one['of memory']:8.0%}"
            )


if __name__ == "__main__":
    main()
