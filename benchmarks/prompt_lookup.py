"""Greedy decoding with drafts from the prompt against single steps, in one thread's processor time.

The tokens of the reply are given, so random weights suffice. They quote the prompt completely, in
every other run of eight tokens, or not at all. Prints a table; --json prints an object.

    python benchmarks/prompt_lookup.py [--tokens 48]
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import models
import torch

from chatui.engine.engine import Engine
from chatui.engine.token_choice import PromptLookup
from chatui.messages import ModelSpec

PROMPT, RUN = 200, 8


def replies(prompt: list[int], count: int) -> dict[str, list[int]]:
    """Return the tokens of each kind of reply."""
    whole, other = prompt[20 : 20 + count], [5000 + 7 * place for place in range(count)]
    half = [(whole, other)[place // RUN % 2][place] for place in range(count)]
    return {"all of it": whole, "half of it": half, "nothing": other}


def seconds(network: Any, prompt: list[int], reply: list[int], *, ahead: bool) -> float:
    cache = network.new_cache()
    network.prefill(prompt, cache, lambda: False)
    step = lambda token: network.step(token, cache)  # noqa: E731
    if ahead:
        step = PromptLookup(network, cache, prompt).step
    began = time.thread_time()
    for token in reply:
        step(token)
    return time.thread_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prompt = random.Random(0).sample(range(5, 4000), PROMPT)
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = models.llama_of(Path(name) / "wide", 4, "float32")
        for weights in ("plain", "int8"):
            engine = Engine()
            spec = ModelSpec("b", str(folder), format="alpaca:article", weights=weights)
            engine.load(spec, lambda _: None)
            torch.set_num_threads(1)
            network: Any = engine._loaded().network
            for kind, reply in replies(prompt, options.tokens).items():
                plain, ahead = (
                    seconds(network, prompt, reply, ahead=ahead) for ahead in (False, True)
                )
                rows.setdefault(kind, {})[weights] = plain / ahead
            del engine, network
    if options.json:
        print(json.dumps(rows))
        return
    print("speed with drafts relative to single steps, for replies that quote")
    for kind, row in rows.items():
        print(f"{kind:12}" + "".join(f"{name:>8} {one:5.2f}×" for name, one in row.items()))


if __name__ == "__main__":
    main()
