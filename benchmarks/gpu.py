"""Decode speed, first token, memory, LoRA and exactness on a GPU, one line per figure.

Runs in one process without a network, in less than three minutes, and prints each line at once.
Decode is compared with its limit (bandwidth of a copy ÷ bytes of weights read per token), plain
``generate()``, transformers' step on a static cache in a CUDA graph, and chatui without its
kernels. --dry runs the same code on a CPU with tiny shapes; its figures are meaningless. With
TRITON_INTERPRET=1 it also runs the kernels, if Triton is installed.

    python -u benchmarks/gpu.py [--dry] [--tokens 64]
"""

from __future__ import annotations

import argparse
import gc
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import gpu_models
import torch

from chatui import __version__, locations
from chatui.engine import generate, kernel_support
from chatui.engine.engine import Engine
from chatui.engine.model import LoadedModel
from chatui.messages import Done, GenerateRequest, ModelSpec, Token
from chatui.sampling import SamplingSettings

PROMPT, LONG = 128, 1600
GREEDY = {"greedy": True}
SAMPLED = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "repetition_penalty": 1.1}
_began = time.monotonic()


def say(name: str, figure: str) -> None:
    """Print a line with the seconds since the start, a name and a figure."""
    print(f"{time.monotonic() - _began:6.1f} s  {name:58}{figure}", flush=True)


class Device:
    """The device to measure.

    Attributes:
        name: "cuda" or, dry, "cpu".
        bandwidth: bytes read and written per second by a copy.
    """

    def __init__(self, dry: bool) -> None:
        self.name = "cpu" if dry else "cuda"
        source = torch.empty((1 << 20) if dry else (1 << 30), dtype=torch.uint8, device=self.name)
        target = torch.empty_like(source)
        seconds = min(self.seconds(lambda: target.copy_(source)) for _ in range(5))
        self.bandwidth = 2 * source.numel() / seconds

    def wait(self) -> None:
        if self.name == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def free(self) -> None:
        if self.name == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def reply(model: LoadedModel, prompt: int, tokens: int, **sampling: Any) -> tuple[float, float]:
    """Return tokens per second after the first token, and the seconds to the first."""
    settings = SamplingSettings(max_new_tokens=tokens, seed=1, **sampling)
    request = GenerateRequest(str(prompt), sampling=settings)
    times, first = [], 0.0
    for event in generate.generate(model, request, lambda: False):
        if isinstance(event, Token) and event.id >= 0:
            times.append(time.perf_counter())
        elif isinstance(event, Done):
            first = event.first_token_seconds
    return (len(times) - 1) / (times[-1] - times[0]), first


def plain_generate(model: Any, tokens: int, device: Device) -> float:
    """Return tokens per second of transformers' greedy generate(), without its prefill."""
    ids = torch.tensor([gpu_models.prompt_ids(model, "", PROMPT)], device=device.name)
    mask = torch.ones_like(ids)

    def run(count: int) -> float:
        return device.seconds(
            lambda: model.generate(
                ids, attention_mask=mask, do_sample=False, max_new_tokens=count,
                min_new_tokens=count, eos_token_id=None, pad_token_id=0,
            )
        )  # fmt: skip

    run(2)
    return (tokens - 1) / max(1e-9, run(tokens) - run(1))


@torch.inference_mode()
def anchor(model: Any, tokens: int, device: Device) -> float:
    """Return tokens per second of transformers' step on a static cache, in a graph on CUDA."""
    from transformers import StaticCache

    cache = StaticCache(config=model.config, max_cache_len=PROMPT + tokens + 8)
    prompt = torch.tensor([gpu_models.prompt_ids(model, "", PROMPT)], device=device.name)
    model(prompt, cache=cache, use_cache=True)
    token = torch.zeros(1, 1, dtype=torch.int64, device=device.name)
    position = torch.full((1, 1), PROMPT, dtype=torch.int64, device=device.name)

    def step() -> None:
        logits = model(token, cache=cache, position_ids=position, use_cache=True).logits
        token.copy_(logits[:, -1:].argmax(-1))
        position.add_(1)

    run: Callable[[], Any] = step
    if device.name == "cuda":
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        run = graph.replay
    return tokens / device.seconds(lambda: [run() for _ in range(tokens)])


def measure_shape(name: str, device: Device, dry: bool, tokens: int) -> None:
    family, values = gpu_models.SHAPES[name]
    device.free()
    dtype = torch.float32 if dry else torch.float16
    values = gpu_models.shape_of(family, values, dry)
    model = gpu_models.make(family, values, dtype, device.name, 0.02)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    limit = device.bandwidth / gpu_models.read_bytes(model)
    say(f"{name}: limit", f"{limit:9.1f} tok/s, {weights / 1e9:.2f} GB of weights")

    def told(what: str, rate: float) -> None:
        say(f"{name}: {what}", f"{rate:9.1f} tok/s, {rate / limit:6.1%} of the limit")

    network = gpu_models.network_of(model, family)
    ours = gpu_models.loaded_model(model, family, network)
    long = min(LONG, gpu_models.WINDOW - tokens - 1) if not dry else 40
    say(f"{name}: first token after {long}, first query", f"{reply(ours, long, 2)[1]:9.3f} s")
    say(f"{name}: first token after {long}, again", f"{reply(ours, long + 1, 2)[1]:9.3f} s")
    reply(ours, PROMPT, 8, **SAMPLED)
    greedy = reply(ours, PROMPT, tokens, **GREEDY)[0]
    told("chatui greedy", greedy)
    used = kernel_support.vector_kernels(torch.zeros(1, device=device.name)) is not None
    if used:
        told("chatui greedy, without its kernels", without_kernels(model, family, network, tokens))
    else:
        say(f"{name}: kernels", "    none")
    sampled = reply(ours, PROMPT, tokens, **SAMPLED)[0]
    told("chatui sampled", sampled)
    say(f"{name}: sampled against greedy", f"{sampled / greedy:9.2f} ×")
    if device.name == "cuda":
        peak = torch.cuda.max_memory_allocated()
        say(f"{name}: peak memory", f"{peak / 1e9:9.2f} GB, {peak / weights:.2f} × weights")
    if family != "chatglm":
        attempt(name, "generate()", told, lambda: plain_generate(model, tokens // 2, device))
        attempt(name, "static cache + graph", told, lambda: anchor(model, tokens, device))
    applied = gpu_models.put_lora_on(model)
    adapted = gpu_models.loaded_model(model, family, gpu_models.network_of(model, family))
    reply(adapted, PROMPT, 8, **GREEDY)
    rate = reply(adapted, PROMPT, tokens, **GREEDY)[0]
    applied.remove()
    say(f"{name}: LoRA beside the weights", f"{rate:9.1f} tok/s, {rate / greedy:.2f} × without")


def without_kernels(model: Any, family: str, network: Any, tokens: int) -> float:
    """Return tokens per second with PyTorch's products, in a separate graph."""
    devices, kernel_support.DEVICES = kernel_support.DEVICES, set()
    try:
        ours = gpu_models.loaded_model(model, family, network)
        reply(ours, PROMPT, 8, **GREEDY)
        return reply(ours, PROMPT, tokens, **GREEDY)[0]
    finally:
        kernel_support.DEVICES = devices


def attempt(
    name: str, what: str, told: Callable[[str, float], None], work: Callable[[], float]
) -> None:
    """Print the figure of a reference, or the error that it raised."""
    try:
        told(what, work())
    except Exception as error:
        say(f"{name}: {what}", f"    none ({type(error).__name__}: {str(error).splitlines()[0]})")


def measure_embedded(device: Device, tokens: int) -> None:
    """Measure the embedded model on the device and on the CPU, as the engine loads it."""
    folder = str(locations.assets_folder() / "shiyou")
    for where in dict.fromkeys((device.name, "cpu")):
        engine = Engine()
        spec = ModelSpec("shiyou", folder, format="shiyou", device=where, eos_ids=(10**7,))
        engine.load(spec, lambda _: None)
        settings = SamplingSettings(max_new_tokens=tokens, seed=1, **SAMPLED)
        request = GenerateRequest("写一首五言绝句", sampling=settings)
        for _ in range(2):
            times = [
                time.perf_counter()
                for event in engine.generate(request, lambda: False)
                if isinstance(event, Token)
            ]
        rate = 1000 * (times[-1] - times[0]) / (len(times) - 1)
        say(f"the embedded model on {where}", f"{rate:9.2f} ms a token")


@torch.inference_mode()
def compare(family: str, device: Device) -> None:
    """Compare logits and greedy tokens with the CPU's in fp32."""
    values = gpu_models.tiny_values(family)
    here = gpu_models.make(family, values, torch.float32, "cpu", 0.3)
    there = gpu_models.make(family, values, torch.float32, device.name, 0.3)
    there.load_state_dict(here.state_dict())
    networks = [gpu_models.network_of(model, family) for model in (here, there)]
    ids = gpu_models.prompt_ids(here, family, 24)
    caches = [network.new_cache() for network in networks]
    apart, equal = 0.0, 0
    rows = [
        network.prefill(ids, cache, lambda: False)
        for network, cache in zip(networks, caches, strict=True)
    ]
    for _ in range(32):
        one, two = (row.float().cpu().clone() for row in rows)
        apart = max(apart, float((one - two).abs().max()))
        token = int(one.argmax())
        equal += token == int(two.argmax())
        rows = [network.step(token, cache) for network, cache in zip(networks, caches, strict=True)]
    say(f"{family}: fp32 against the CPU", f"max |Δlogit| {apart:.1e}, {equal} of 32 tokens equal")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dry", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args(argv)
    if not options.dry and not torch.cuda.is_available():
        raise SystemExit("There is no GPU; --dry runs the same code on the CPU.")
    device = Device(options.dry)
    name = (
        torch.cuda.get_device_name()
        if device.name == "cuda"
        else "CPU, dry: figures are meaningless"
    )
    say("device", name)
    say("versions", f"chatui {__version__}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}")
    say("bandwidth of a copy", f"{device.bandwidth / 1e12:9.3f} TB/s")
    for family in gpu_models.FAMILIES:
        compare(family, device)
    if options.dry and os.environ.get("TRITON_INTERPRET") == "1":
        kernel_support.DEVICES.add("cpu")
    for shape in gpu_models.SHAPES:
        measure_shape(shape, device, options.dry, options.tokens)
    measure_embedded(device, options.tokens)


if __name__ == "__main__":
    main()
