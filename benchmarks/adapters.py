"""Cost of LoRA per decoded token: chatui's unmerged and merged, peft's, and without an adapter.

Uses a random-weight 110M Llama in float32 with LoRA of rank 8 on all linear layers. The four take
turns in one run. CPU time is that of the process; it varies less on a busy machine.

    python benchmarks/adapters.py [--tokens 10] [--repeat 10] [--threads 0]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models

from chatui.engine.threads import limit_spinning
from chatui.messages import Adapter, ModelSpec

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROMPT = list(range(40, 104))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=10)
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0, help="0 uses torch's default")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    limit_spinning()
    with tempfile.TemporaryDirectory() as temporary:
        rows = measure(Path(temporary), options)
    if options.json:
        print(json.dumps(rows))
        return
    bare = rows["no adapter"]
    for name, row in rows.items():
        share = row["cpu_ms"] / bare["cpu_ms"] - 1
        print(f"{name:18} {row['wall_ms']:7.2f} ms  CPU {row['cpu_ms']:7.2f} ms  {share:+6.1%}")


def measure(root: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return medians in milliseconds per token."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    from chatui.engine.engine import Engine
    from chatui.engine.network import CausalNetwork

    if options.threads:
        torch.set_num_threads(options.threads)
    base = models.llama_110m(root)
    made = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=8, target_modules=list(TARGETS))
    )
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.01)
    made.save_pretrained(root / "lora")
    adapters = (Adapter(str(root / "lora")),)

    def network(**values: Any) -> Any:
        engine = Engine()
        spec = ModelSpec("benchmark", str(base), format="linly", **values)
        engine.load(spec, lambda _: None)
        return engine._loaded().network

    with_peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), root / "lora")
    networks = {
        "no adapter": network(),
        "unmerged": network(adapters=adapters),
        "merged": network(adapters=adapters, merge_adapters=True),
        "peft": CausalNetwork(with_peft.eval().base_model.model, 1024),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in networks}
    for _ in range(options.repeat):
        for name, one in networks.items():
            times[name] += _decode(one, options.tokens)
    return {
        name: {
            "wall_ms": 1000 * statistics.median(wall for wall, _ in found),
            "cpu_ms": 1000 * statistics.median(cpu for _, cpu in found),
        }
        for name, found in times.items()
    }


def _decode(network: Any, tokens: int) -> list[tuple[float, float]]:
    """Return (wall, CPU) seconds of each step."""
    cache = network.new_cache()
    logits = network.prefill(PROMPT, cache, lambda: False)
    found = []
    for _ in range(tokens):
        token = int(logits.argmax())
        clocks: tuple[Callable[[], float], ...] = (time.perf_counter, time.process_time)
        before = [clock() for clock in clocks]
        logits = network.step(token, cache)
        wall, cpu = (clock() - start for clock, start in zip(clocks, before, strict=True))
        found.append((wall, cpu))
    return found


if __name__ == "__main__":
    main()
