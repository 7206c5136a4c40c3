"""transformers' own forward over a preallocated cache, and the limits of a captured step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from asking import ask, loaded, parts
from test_decoder import CASES, IDS, WINDOW, Oracle, made

from chatui.engine.architectures.decoder import transformers_step
from chatui.engine.architectures.decoder.transformers_decoder import build_decoder
from chatui.engine.architectures.decoder.transformers_step import TransformersStep, can_be_captured

EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gemma": ("Gemma", {"head_dim": 16}),
    "phi 3": ("Phi3", {"sliding_window": None}),
    "cohere": ("Cohere", {}),
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "hunyuan": ("HunYuanDenseV1", {"head_dim": 8}),
    "mixtral": ("Mixtral", EXPERTS),
    # Sliding windows, in some layers or in all.
    "gemma 2": ("Gemma2", {"head_dim": 16, "sliding_window": 16}),
    "gemma 3": ("Gemma3Text", {"head_dim": 16, "sliding_window": 16, "num_hidden_layers": 7}),
    "mistral, sliding": ("Mistral", {"sliding_window": 16}),
    "phi 3, sliding": ("Phi3", {"sliding_window": 16}),
    "qwen 2, sliding": (
        "Qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1},
    ),
}


def other(case: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(CASES, case, OTHERS[case])
    model = made(case)
    assert build_decoder(model, WINDOW) is None and can_be_captured(model, WINDOW)
    return model


@pytest.mark.parametrize("case", OTHERS)
@torch.inference_mode()
def test_logits_equal_those_with_a_growing_cache(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks, single tokens, a crop, a larger window, and a return to the start."""
    model = other(case, monkeypatch)
    step, oracle = TransformersStep(model), Oracle(model)
    cache = step.new_cache(WINDOW)

    def same(ids: list[int]) -> None:
        torch.testing.assert_close(step.read(ids, cache), oracle.read(ids), atol=1e-5, rtol=0)

    for start, end in ((0, 20), (20, 47), (47, 48), (48, 49)):
        same(IDS[start:end])
    cache.crop(-10)
    oracle.crop(-10)
    same(IDS[50:55])
    same([7])
    same(IDS * 16)
    same([11])
    assert list(cache.steps) == [2048]
    oracle.crop(-cache.length)
    cache.crop(-cache.length)
    same(IDS[:9])
    same([4])
    rows = step.read_all(IDS[:3], cache, last=2)
    assert rows.shape == (2, 97) and cache.length == 13


def test_sliding_windows_keep_all_tokens_if_they_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = other("gemma 2", monkeypatch)
    numbers = 2 * 2 * 2 * 16 * WINDOW
    for free, captured in ((4 * numbers, True), (4 * numbers - 1, False)):
        monkeypatch.setattr(transformers_step, "available_bytes", lambda _, free=free: free)
        assert can_be_captured(model, WINDOW) is captured
    assert can_be_captured(model, 16)


@pytest.mark.parametrize("case", [*CASES, *(case for case in OTHERS if case != "mixtral")])
@torch.inference_mode()
def test_a_step_reads_no_values_on_the_host(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, reading a value or using a tensor on the CPU is an error."""
    model = made(case) if case in CASES else other(case, monkeypatch)
    model = model.to("meta")
    reader: Any = build_decoder(model, WINDOW) or TransformersStep(model)
    reader.windowed = True
    cache = reader.new_cache(WINDOW)
    cache.reserve(1)
    ids = torch.zeros(1, dtype=torch.int64, device="meta")
    assert reader.read_one(ids, cache, 1024).shape == (97,)


def test_replies_are_the_same_with_either_cache(tmp_path: Path) -> None:
    folder = tiny_models.llama(tmp_path / "llama", rope_theta=1e4)
    tiny_models.set_config(folder, rope_parameters={"rope_type": "dynamic", "factor": 2.0})
    engine = loaded(folder)
    network: Any = engine._loaded().network
    assert network.decoder is None
    expected = [parts(ask(engine, query))[2].output_ids for query in ("春眠", "春眠不觉晓")]
    network.decoder = TransformersStep(network.model)
    engine._loaded().prompt_cache.cache = None  # type: ignore[attr-defined]
    for query, ids in zip(("春眠", "春眠不觉晓"), expected, strict=True):
        prefill, _, done = parts(ask(engine, query))
        assert done.output_ids == ids
    assert prefill.reused_tokens
