"""One decode step with int8 and int4 weights against float32, in processor time of one thread.

The three take turns token by token and medians are compared, so other load matters little. Uses a
wide Llama of four layers quantised by the engine, and blocks of ChatGLM-6B packed like its own
checkpoints; the figure for 28 layers with the float32 head is computed from blocks and head. Prints
a table; --json prints an object.

    python benchmarks/quantised_step.py [--tokens 20]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gpu_models
import models
import torch
from torch import nn

from chatui.engine.architectures.chatglm.chatglm_network import chatglm_parts
from chatui.engine.engine import Engine
from chatui.engine.linear import speed_up
from chatui.messages import ModelSpec

PROMPT = 100
LAYERS = 2


def llama(weights: str, folder: Path) -> Any:
    engine = Engine()
    spec = ModelSpec("b", str(folder), format="alpaca:article", weights=weights, device="cpu")
    engine.load(spec, lambda _: None)
    return engine._loaded().network


def chatglm(weights: str) -> Any:
    values = {"num_layers": LAYERS, "vocab_size": 400, "bos_token_id": 304}
    values["quantization_bit"] = {"plain": 0, "int8": 8, "int4": 4}[weights]
    model = gpu_models.make("chatglm", values, torch.float32, "cpu", 0.02)
    speed_up(model)
    return chatglm_parts(SimpleNamespace(all_special_tokens=[], encode=None), model, 2048)[2]


def milliseconds(steps: dict[str, Callable[[], Any]], count: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(count):
        for name, step in steps.items():
            began = time.thread_time()
            step()
            times[name].append(time.thread_time() - began)
    return {name: 1e3 * statistics.median(row) for name, row in times.items()}


def measure(make: Callable[[str], Any], count: int) -> dict[str, float]:
    steps: dict[str, Callable[[], Any]] = {}
    for weights in ("plain", "int8", "int4"):
        network = make(weights)
        torch.set_num_threads(1)
        cache = network.new_cache()
        family = "chatglm" if "chatglm" in type(network).__name__.lower() else "Llama"
        ids = gpu_models.prompt_ids(network.model, family, PROMPT)
        network.prefill(ids, cache, lambda: False)
        steps[weights] = lambda network=network, cache=cache: network.step(9, cache)
    return milliseconds(steps, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        folder = models.llama_of(Path(name) / "wide", 4, "float32")
        rows["wide Llama, 4 layers"] = measure(
            lambda weights: llama(weights, folder), options.tokens
        )
    blocks = measure(chatglm, options.tokens)
    rows[f"ChatGLM-6B, {LAYERS} layers"] = blocks
    head = nn.Linear(4096, 130528, bias=False, device="meta").to_empty(device="cpu")
    head.weight.data.fill_(0.01)
    speed_up(nn.ModuleList([head]))
    state = torch.randn(1, 4096)
    with torch.inference_mode():
        last = milliseconds({"head": lambda: head(state)}, options.tokens)["head"]
    rows["ChatGLM-6B, computed"] = {
        weights: one * 28 / LAYERS + last for weights, one in blocks.items()
    }
    if options.json:
        print(json.dumps(rows))
        return
    print("processor time of a step in ms, one thread; speed relative to float32")
    for name, row in rows.items():
        told = [f"{one:8.1f} {row['plain'] / one:5.2f}×" for one in row.values()]
        print(f"{name:24}" + "".join(told))


if __name__ == "__main__":
    main()
