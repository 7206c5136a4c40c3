"""The memory of models in the model picker."""

from __future__ import annotations

from chatui.catalog import ModelEntry
from chatui.catalog.memory_need import CacheSize
from chatui.messages import Loaded
from chatui.tui.screens.model_picker import memory_words, model_row
from chatui.tui.widgets.status_line import StatusLine

LLAMA = ModelEntry(
    "llama", "hub", "llama", memory_bytes=16_060_000_000, dtype_bytes=2, cache=CacheSize(65_536),
    context_limit=131_072,
)  # fmt: skip
SMALL = ModelEntry(
    "s",
    "preset",
    "s",
    memory_bytes=13_200_000,
    dtype_bytes=2,
    cache=CacheSize(3072),
    context_limit=512,
)


def loaded(device: str, gibibytes: int, skipped_gpu: str = "") -> Loaded:
    return Loaded(
        "m", "llama", "alpaca", 2048, device, free_bytes=gibibytes << 30, skipped_gpu=skipped_gpu
    )


def test_memory_is_shown_for_the_window_that_would_be_used() -> None:
    words = memory_words(LLAMA, loaded("cuda:0", 80), None)
    assert words == "33.5 GB of memory with 131072 tokens"
    words = memory_words(LLAMA, loaded("cuda:0", 24), None)
    assert words.startswith("24.") and int(words.split()[5]) < 65_000
    assert memory_words(LLAMA, loaded("cuda:0", 24), 8192).endswith("8192 tokens")
    assert memory_words(LLAMA, loaded("cuda:0", 12), None).startswith("int8, ")
    assert memory_words(LLAMA, loaded("cuda:0", 8), None).startswith("int4, ")
    assert "too large" in memory_words(LLAMA, loaded("cuda:0", 8), None, "plain")
    assert memory_words(LLAMA, loaded("cuda:0", 80), None, "int8").startswith("int8, ")
    assert "24." in model_row(LLAMA, False, words).plain
    # float32, as a CPU computes.
    assert memory_words(SMALL, loaded("cpu", 8), None).endswith("512 tokens")


def test_unknown_memory_is_not_shown() -> None:
    assert memory_words(LLAMA, None, None) == ""
    assert memory_words(LLAMA, loaded("server", 0), None) == ""
    assert memory_words(ModelEntry("x", "hub", "x"), loaded("cpu", 8), None) == ""
    # The small model is on the CPU, and a large one would go to the GPU.
    assert memory_words(LLAMA, loaded("cpu", 64, "cuda:0"), None) == ""
    assert memory_words(SMALL, loaded("cpu", 64, "cuda:0"), None)


def test_the_status_line_says_why_a_small_model_is_on_the_cpu() -> None:
    line = StatusLine()
    line.model, line.device = "诗友", "CPU (faster at this size)"
    assert line.facts() == "诗友 · CPU (faster at this size)"
