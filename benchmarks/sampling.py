"""Time to choose a token from a large vocabulary on the CPU, in milliseconds of one thread.

Uses typical and nearly flat logits, and settings that keep few or most tokens. The reference is
transformers' logits processors and one draw, with the same settings in the same run.

    python benchmarks/sampling.py [--vocabulary 152000] [--rounds 30]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature 0.7, top-p 0.9": {"temperature": 0.7, "top_p": 0.9},
    "temperature 1.5, top-p 0.95": {"temperature": 1.5, "top_p": 0.95},
    "temperature 0.8, top-k 40, top-p 0.95": {"temperature": 0.8, "top_k": 40, "top_p": 0.95},
    "top-k 50000, min-p 0.01": {"top_k": 50_000, "min_p": 0.01},
    "top-p 0.95, repetition penalty 1.1": {"top_p": 0.95, "repetition_penalty": 1.1},
    "temperature 0.3, top-p 0.99": {"temperature": 0.3, "top_p": 0.99},
    "all of them, wide: 2, 100000, 0.999, 1e-9": {
        "temperature": 2.0,
        "top_k": 100_000,
        "top_p": 0.999,
        "min_p": 1e-9,
    },
}


def reference(values: dict[str, Any], logits: Any, prompt: list[int]) -> Callable[[], Any]:
    """Choose a token as transformers' ``generate()`` does."""
    import torch
    from transformers import LogitsProcessorList, generation

    makers = {
        "repetition_penalty": generation.RepetitionPenaltyLogitsProcessor,
        "temperature": generation.TemperatureLogitsWarper,
        "top_k": generation.TopKLogitsWarper,
        "top_p": generation.TopPLogitsWarper,
        "min_p": generation.MinPLogitsWarper,
    }
    chain = LogitsProcessorList(
        make(values[name]) for name, make in makers.items() if name in values
    )
    ids, scores = torch.tensor([prompt]), logits[None]
    return lambda: torch.multinomial(torch.softmax(chain(ids, scores.clone()), -1), 1)


def milliseconds(action: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.thread_time()
        action()
        times.append(time.thread_time() - began)
    return statistics.median(times) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vocabulary", type=int, default=152_000)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    import torch

    from chatui.engine.memory import keep_small_blocks
    from chatui.engine.penalties import ReplySoFar
    from chatui.engine.sampler import Sampler
    from chatui.sampling import SamplingSettings

    torch.set_num_threads(1)
    keep_small_blocks()
    noise = torch.randn(options.vocabulary, generator=torch.Generator().manual_seed(0))
    prompt = list(range(2000))
    results = {}
    for kind, logits in (("peaked", noise * 3), ("flat", noise / 100)):
        for name, values in SETTINGS.items():
            sampler = Sampler(ReplySoFar(SamplingSettings(**values), prompt), seed=0)
            theirs = reference(values, logits, prompt)
            results[f"{kind}: {name}"] = {
                "ours": milliseconds(lambda: sampler(logits), options.rounds),  # noqa: B023
                "reference": milliseconds(theirs, options.rounds // 3 + 1),
            }
    if options.json:
        print(json.dumps(results))
        return
    print(f"{'':48}{'ours':>8}{'transformers':>14}   (median ms of processor time per token)")
    for name, row in results.items():
        print(f"{name:48}{row['ours']:8.2f}{row['reference']:14.1f}")


if __name__ == "__main__":
    main()
