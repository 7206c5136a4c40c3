"""Tokens a second: our decode loop against generate() with TextIteratorStreamer in a thread.

Both answer the same prompt with the same weights, sampling and thread settings, in turns within
one run, so that whatever else the machine does touches both. --default-threads leaves the
reference the threads' default waiting, as demos have it. Prints a table; --json an object.

    python benchmarks/decode.py [--model embedded|llama] [--tokens 96] [--rounds 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

import models

from chatui import locations
from chatui.backends.local import LocalBackend
from chatui.engine.threads import share_the_cores
from chatui.messages import GenerateRequest, ModelSpec, Token
from chatui.sampling import SamplingSettings

QUERY = "写一首关于春天的诗，" * 4
SETTINGS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95}
NEVER = 10**7


async def ours(backend: LocalBackend, tokens: int, seed: int) -> float:
    """Tokens a second from the first token to the last, as the app would see them."""
    settings = SamplingSettings(**SETTINGS, max_new_tokens=tokens, seed=seed)
    times = []
    async for event in backend.generate(GenerateRequest(QUERY, sampling=settings)):
        if isinstance(event, Token):
            times.append(time.perf_counter())
    return (len(times) - 1) / (times[-1] - times[0])


class Reference:
    """What every demo does: generate() in a second thread, the text read from its streamer."""

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
        # The first put is the prompt.
        return (len(times) - 2) / (times[-1] - times[1])


async def measure(folder: Path, format: str, tokens: int, rounds: int) -> dict[str, float]:
    backend = LocalBackend()
    spec = ModelSpec("benchmark", str(folder), format=format, eos_ids=(NEVER,))
    async for _ in backend.load(spec):
        pass
    reference = Reference(folder)
    await ours(backend, 8, 0)
    reference(8, 0)
    pairs = []
    for seed in range(rounds):
        pairs.append((await ours(backend, tokens, seed), reference(tokens, seed)))
    await backend.close()
    return {
        "ours": statistics.median(one for one, _ in pairs),
        "reference": statistics.median(other for _, other in pairs),
        "ratio": statistics.median(one / other for one, other in pairs),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=("embedded", "llama", "both"), default="both")
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--default-threads", action="store_true")
    options = parser.parse_args()
    if not options.default_threads:
        share_the_cores()
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
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'':18}{'ours':>12}{'generate()':>12}{'ratio':>8}   (tokens a second, median)")
    for name, row in results.items():
        print(f"{name:18}{row['ours']:12.1f}{row['reference']:12.1f}{row['ratio']:8.2f}")


if __name__ == "__main__":
    main()
