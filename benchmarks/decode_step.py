"""One decode step of chatui's decoder against transformers' forward pass on the same weights.

Prints PyTorch operations per token (counted below the dispatcher), tokens per second and the
largest difference of the logits. The two take turns token by token, so that other load affects
both; medians are compared. --cpu-time compares processor time of one thread, for busy machines. The
reference uses chatui's cache and linear layers too, so only the step differs. --json prints an
object.

    python benchmarks/decode_step.py [--models tiny embedded qwen2-0.5b] [--tokens 100]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode

from chatui import locations
from chatui.engine.linear import speed_up
from chatui.engine.network import CausalNetwork
from chatui.engine.threads import use_threads

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": (
        "Llama",
        {"vocab_size": 8000, "hidden_size": 256, "intermediate_size": 688,
         "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4},
    ),
    "llama-110m": (
        "Llama",
        {"vocab_size": 16000, "hidden_size": 768, "intermediate_size": 2048,
         "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 12},
    ),
    "qwen2-0.5b": (
        "Qwen2",
        {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
         "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
         "tie_word_embeddings": True},
    ),
    "qwen3-0.6b": (
        "Qwen3",
        {"vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "head_dim": 128,
         "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8,
         "tie_word_embeddings": True},
    ),
}  # fmt: skip
PROMPT = 64
WINDOW = 1024


def model_of(name: str, dtype: torch.dtype) -> Any:
    """Return a model with random weights in the shape ``name``, or the embedded model."""
    if name == "embedded":
        folder = locations.assets_folder() / "shiyou"
        return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    kind, values = MODELS[name]
    config = getattr(transformers, f"{kind}Config")(**values)
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        return getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    finally:
        torch.set_default_dtype(torch.float32)


class _Counter(TorchDispatchMode):
    """Counts operations that compute or move numbers; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


class Side:
    """A network that has read a prompt."""

    def __init__(self, model: Any, *, ours: bool) -> None:
        self.network = CausalNetwork(model, WINDOW)
        if not ours:
            self.network.decoder = None
        self.cache = self.network.new_cache()
        self.network.prefill(list(range(5, 5 + PROMPT)), self.cache, lambda: False)

    def operations(self) -> int:
        with _Counter() as counter:
            self.network.step(7, self.cache)
        return counter.count

    def seconds(self, token: int, clock: Callable[[], float]) -> float:
        """Return the duration of one step."""
        began = clock()
        float(self.network.step(token, self.cache)[0])
        return clock() - began


def measure(model: Any, tokens: int, *, cpu_time: bool) -> dict[str, float]:
    if next(model.parameters()).device.type == "cpu":
        speed_up(model)
        use_threads(sum(parameter.numel() for parameter in model.parameters()))
    clock = time.perf_counter
    if cpu_time:
        torch.set_num_threads(1)
        clock = time.thread_time
    ours, other = Side(model, ours=True), Side(model, ours=False)
    apart = (ours.network.step(9, ours.cache) - other.network.step(9, other.cache)).abs().max()
    row = {"operations": ours.operations(), "reference_operations": other.operations()}
    pairs = [
        (ours.seconds(token, clock), other.seconds(token, clock)) for token in range(5, 5 + tokens)
    ]
    one, two = (statistics.median(times) for times in zip(*pairs, strict=True))
    return row | {
        "ours": 1 / one,
        "reference": 1 / two,
        "ratio": two / one,
        "difference": float(apart),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = ("embedded", *MODELS)
    parser.add_argument("--models", nargs="+", choices=names, default=["tiny", "embedded"])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = {}
    for name in options.models:
        model = model_of(name, getattr(torch, options.dtype)).to(options.device)
        rows[name] = measure(model, options.tokens, cpu_time=options.cpu_time)
        del model
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'':12}{'operations':>16}{'tokens a second':>22}{'ratio':>8}{'|Δ logit|':>12}")
    for name, row in rows.items():
        counts = f"{row['operations']:.0f} / {row['reference_operations']:.0f}"
        rates = f"{row['ours']:.1f} / {row['reference']:.1f}"
        print(f"{name:12}{counts:>16}{rates:>22}{row['ratio']:8.2f}{row['difference']:12.1e}")


if __name__ == "__main__":
    main()
