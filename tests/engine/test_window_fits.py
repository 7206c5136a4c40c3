"""The context window: the largest that fits into memory, or the one that the user sets."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from asking import FAMILIES, ask, loaded, parts, spec

from chatui.catalog.memory_need import (
    WORKSPACE,
    CacheSize,
    MemoryNeed,
    WindowRange,
    best_fit,
    cache_size,
)
from chatui.engine.cache import GrowingLayer, cache_bytes
from chatui.engine.engine import Engine
from chatui.engine.placement import memory_need
from chatui.engine.weights import find_weights
from chatui.errors import ChatuiError
from chatui.messages import Loaded

Maker = Callable[[str], Path]
Room = Callable[[int], None]


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """Return a function that sets the free memory in bytes."""

    def state(count: int) -> None:
        monkeypatch.setattr("chatui.engine.placement.available_bytes", lambda _: count)

    return state


@pytest.fixture(scope="module")
def long_windowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama with Llama-3.1's window of 131,072 tokens: 512 bytes of cache a token."""
    return tiny_models.llama(
        tmp_path_factory.mktemp("long") / "llama", max_position_embeddings=131_072
    )


def need(folder: Path) -> MemoryNeed:
    from chatui.engine.loading import plan_load

    plan = plan_load(spec(folder))
    return memory_need(find_weights(folder), plan.config)  # type: ignore[union-attr]


def load(folder: Path, **values: object) -> Loaded:
    return Engine().load(spec(folder, **values), lambda _: None)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_estimated_cache_is_the_real_one(made: Maker, family: str) -> None:
    """Estimated from transformers' config and from the config.json alone."""
    engine = loaded(made(family))
    network = engine._loaded().network
    cache = network.new_cache()
    network.prefill(list(range(4, 20)), cache, lambda: False)
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    tokens = cache.layers[0].keys.shape[-2]
    assert need(made(family)).cache.numbers(tokens) == held
    raw = json.loads((made(family) / "config.json").read_text())
    assert cache_size(raw).numbers(tokens) == held


def test_the_cache_of_sliding_layers_and_latent_attention(
    tmp_path: Path,
) -> None:
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    folder = tiny_models.qwen2(
        tmp_path / "sliding",
        use_sliding_window=True,
        sliding_window=16,
        max_window_layers=1,
        layer_types=["full_attention", "sliding_attention"],
    )
    assert need(folder).cache == CacheSize(32, 32, 16)
    assert need(folder).cache.numbers(100) == 32 * 116
    config = DeepseekV3Config(
        vocab_size=32, hidden_size=32, intermediate_size=32, moe_intermediate_size=16,
        num_hidden_layers=1, first_k_dense_replace=1, num_attention_heads=2, q_lora_rank=8,
        num_key_value_heads=2, kv_lora_rank=8, qk_rope_head_dim=4, qk_nope_head_dim=8, v_head_dim=8,
    )  # fmt: skip
    with torch.inference_mode():
        cache = DeepseekV3ForCausalLM(config)(torch.tensor([[1, 2, 3]]), use_cache=True).cache
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert cache_size(config.to_dict()).numbers(3) == held


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4}),
        ("xglm", {"d_model": 32, "num_layers": 2, "attention_heads": 4, "ffn_dim": 32}),
        ("gpt_bigcode", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}),
    ],
)
def test_the_cache_with_other_config_keys(kind: str, config: dict[str, int]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    made = AutoConfig.for_model(kind, vocab_size=32, **config)
    with torch.inference_mode():
        model = AutoModelForCausalLM.from_config(made)
        cache = model(torch.tensor([[1, 2, 3]]), use_cache=True).cache
    held = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
    assert cache_size(made.to_dict()).numbers(3) == held


def test_auto_takes_the_largest_window_that_fits_and_says_so(
    long_windowed: Path, room: Room
) -> None:
    need_of_it = need(long_windowed)
    room(need_of_it.total(4, 131_072) * 2)
    whole = load(long_windowed)
    assert (whole.context_limit, whole.notes) == (131_072, ())
    free = need_of_it.total(4, 10_000) * 16 // 15
    room(free)
    cut = load(long_windowed)
    assert 9_700 <= cut.context_limit <= 10_000
    assert need_of_it.total(4, cut.context_limit) <= free
    (note,) = cut.notes
    assert str(cut.context_limit) in note and "131072" in note and "--context" in note


def test_a_window_that_is_asked_for(long_windowed: Path, room: Room) -> None:
    free = need(long_windowed).total(4, 3000)
    room(free)
    assert load(long_windowed, context=1000).context_limit == 1000
    assert load(long_windowed, context=3000).notes == ()
    with pytest.raises(ChatuiError, match=r"window of 9000 tokens.*--context 2\d\d\d"):
        load(long_windowed, context=9000)
    room(need(long_windowed).total(4, 1000))
    with pytest.raises(ChatuiError, match=r"window of 2048 tokens.*--context \d+"):
        load(long_windowed)
    assert load(long_windowed, context=700).context_limit == 700


@pytest.mark.parametrize("family", ["gpt2_chinese", "llama"])
def test_a_window_is_limited_to_the_models_own(made: Maker, family: str) -> None:
    own = load(made(family)).context_limit
    asked = load(made(family), context=100_000_000)
    assert asked.context_limit == own
    (note,) = asked.notes
    assert "100000000" in note and str(own) in note
    with pytest.raises(ChatuiError, match="context window of 0 tokens"):
        load(made(family), context=0)


def test_the_dtype_is_chosen_for_a_usual_window(tmp_path: Path, room: Room) -> None:
    """float32 is kept even if the model's largest window does not fit with it."""
    folder = tiny_models.llama(tmp_path / "m", dtype="float16", max_position_embeddings=131_072)
    room(need(folder).total(4, 4096) * 16 // 15)
    full = load(folder)
    assert full.dtype == "float32" and 3800 <= full.context_limit <= 4096
    room(need(folder).total(2, 4096) - 1)
    assert load(folder).dtype == "bfloat16"


def test_history_and_reply_fit_into_the_window(made: Maker) -> None:
    engine = loaded(made("llama"), context=80, format="bloomz")
    history = (("春眠不觉晓", "处处闻啼鸟"),) * 12
    prefill, _, done = parts(ask(engine, "夜来风雨声", history, max_new_tokens=None))
    assert prefill.context_limit == 80 and prefill.dropped_rounds > 0
    assert prefill.prompt_tokens + done.output_tokens <= 80


def test_another_window_keeps_the_base(made: Maker) -> None:
    engine = Engine()
    engine.load(spec(made("llama")), lambda _: None)
    base = engine._loaded().adaptable_base
    assert base is not None
    summary = engine.load(spec(made("llama"), context=77), lambda _: None)
    assert summary.context_limit == 77
    assert engine._loaded().adaptable_base.model is base.model  # type: ignore[union-attr]


def test_the_prompt_cache_counts_as_freed_memory(long_windowed: Path, room: Room) -> None:
    engine = loaded(long_windowed)
    first = engine._loaded().context_limit
    ask(engine, "春眠不觉晓" * 1200)
    kept = engine._loaded().prompt_cache.held_bytes
    assert kept > 500_000
    room(need(long_windowed).total(4, 131_072) * 2 - kept)
    assert engine.load(spec(long_windowed), lambda _: None).context_limit == first


def test_a_cache_grows_in_steps_up_to_the_window() -> None:
    layer, held = GrowingLayer(5000), []
    for _ in range(50):
        keys = torch.zeros(1, 1, 100, 4)
        layer.update(keys, keys)
        assert layer._buffers[0] is not None
        held.append(layer._buffers[0].shape[-2])
    sizes = sorted(set(held))
    assert sizes[0] == 256 and sizes[-1] == 5000 and len(sizes) < 15
    assert all(size <= max(256, 1.25 * (count + 1) * 100 + 256) for count, size in enumerate(held))
    # The soft prompt of an adapter can exceed the window.
    layer.update(torch.zeros(1, 1, 7, 4), torch.zeros(1, 1, 7, 4))
    assert layer.get_seq_length() == 5007


def test_a_small_window_has_a_small_cache(made: Maker) -> None:
    engine = loaded(made("llama"), context=100, format="bloomz")
    ask(engine, "春眠")
    cache = engine._loaded().prompt_cache.cache  # type: ignore[attr-defined]
    assert cache_bytes(cache) == 100 * 4 * need(made("llama")).cache.per_token


def test_window_ranges() -> None:
    assert WindowRange.for_model(None, 512) == WindowRange(512, 512)
    assert WindowRange.for_model(None, 131_072) == WindowRange(2048, 131_072)
    assert WindowRange.for_model(8192, 131_072) == WindowRange(8192, 8192)
    window = WindowRange(2048, 131_072)
    for room in (2048, 2303, 2304, 77_777, 131_071):
        found = window.largest(lambda tokens, room=room: tokens <= room)  # type: ignore[misc]
        assert found <= room < found + 256
    assert window.largest(lambda tokens: tokens <= 131_072) == 131_072
    assert window.largest(lambda _: False) == 2048
    # Llama-3.1-8B in bfloat16 on a GPU with 24 GB, of which 23.3 GiB are free.
    llama = MemoryNeed(8_030_261_248, cache=CacheSize(2 * 32 * 8 * 128))
    assert llama.total(2, 131_072) > 30 << 30
    found = best_fit(llama, (2,), WindowRange.for_model(None, 131_072), 25_000_000_000)
    assert found is not None and 50_000 < found.window < 65_000
    assert dataclasses.replace(llama, floats=0).total(2, 0) == WORKSPACE
