"""Reuse of the cache for a common beginning of prompts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from asking import FAMILIES, ask, loaded, parts

from chatui.engine.cache import LastPromptCache, cache_bytes
from chatui.engine.model import common_prefix
from chatui.engine.network import PREFILL_CHUNK, prefill_chunk
from chatui.messages import GenerateRequest, Prefill

Maker = Callable[[str], Path]


@pytest.mark.parametrize("family", FAMILIES)
def test_replies_are_the_same_with_and_without_the_cache(made: Maker, family: str) -> None:
    """Over several rounds, with the last one regenerated or edited, and an edit in the middle."""
    history: tuple[tuple[str, str], ...] = ()
    values = {"context_limit": 400, "system": ""}
    kept = loaded(made(family), **values)
    fresh = loaded(made(family), **values)

    def reply(query: str, rounds: tuple[tuple[str, str], ...]) -> tuple[Prefill, str]:
        fresh._loaded().prompt_cache = LastPromptCache()
        _, _, expected = parts(ask(fresh, query, rounds, max_new_tokens=12))
        prefill, _, got = parts(ask(kept, query, rounds, max_new_tokens=12))
        assert got.output_ids == expected.output_ids
        return prefill, got.text

    for query in ("春眠不觉晓", "处处闻啼鸟", "夜来风雨声", "花落知多少", "白日依山尽"):
        prefill, text = reply(query, history)
        assert (prefill.reused_tokens > 0) == bool(history)
        history = (*history, (query, text))
    again, _ = reply(query, history[:-1])
    assert again.reused_tokens > 0.9 * again.prompt_tokens
    assert reply("欲穷千里目", history[:-1])[0].reused_tokens > 0
    reply("更上一层楼", (("黄河", "入海流"), *history[1:3]))
    reply("春", ())


def test_an_equal_prompt_reads_only_its_last_token(made: Maker) -> None:
    engine = loaded(made("llama"))
    first = parts(ask(engine))
    again = parts(ask(engine))
    assert again[0].reused_tokens == again[0].prompt_tokens - 1
    assert again[2].output_ids == first[2].output_ids
    engine.inspect(_request(), 3)
    assert parts(ask(engine))[2].output_ids == first[2].output_ids


def _request() -> GenerateRequest:
    return GenerateRequest("处处闻啼鸟")


def test_a_long_prompt_in_chunks_is_the_same(made: Maker) -> None:
    engine = loaded(made("bloom"), context_limit=2000)
    engine._loaded().network.chunk = 64  # type: ignore[attr-defined]
    first = parts(ask(engine, "春眠不觉晓" * 60))
    assert first[0].prompt_tokens > 4 * 64
    model = engine._loaded()
    ids = model.codec.encode(first[0].prompt)
    logits = model.network.model(torch.tensor([ids])).logits[0, -1]  # type: ignore[attr-defined]
    assert int(logits.argmax()) == first[2].output_ids[0]


def test_prefill_chunk() -> None:
    cpu = torch.device("cpu")
    sizes = [prefill_chunk(count, cpu) for count in (10**7, 110 * 10**6, 7 * 10**9)]
    assert sizes == [PREFILL_CHUNK, 256, 32]
    assert prefill_chunk(7 * 10**9, torch.device("cuda")) == PREFILL_CHUNK


def test_a_sliding_window_is_not_reused(tmp_path: Path) -> None:
    folder = tiny_models.qwen2(
        tmp_path / "sliding",
        use_sliding_window=True,
        sliding_window=16,
        max_window_layers=1,
        layer_types=["full_attention", "sliding_attention"],
    )
    engine = loaded(folder)
    assert not engine._loaded().network.reuses_prefix
    query = "春眠不觉晓处处闻啼鸟" * 3
    first = parts(ask(engine, query))
    again = parts(ask(engine, query, (("春", "眠"),)))
    assert (first[0].reused_tokens, again[0].reused_tokens) == (0, 0)
    model = engine._loaded()
    ids = model.codec.encode(first[0].prompt)
    expected = model.network.model.generate(  # type: ignore[attr-defined]
        torch.tensor([ids]), do_sample=False, max_new_tokens=12, eos_token_id=list(model.eos_ids)
    )[0, len(ids) :]
    assert list(first[2].output_ids) == expected.tolist()


@pytest.mark.parametrize("system", ["", "你是诗人" * 20])
def test_a_new_conversation_frees_the_cache(made: Maker, system: str) -> None:
    """A system prompt is shared by both conversations."""
    engine = loaded(made("qwen2"), context_limit=6000, system=system)

    def held() -> int:
        cache = engine._loaded().prompt_cache
        assert isinstance(cache, LastPromptCache) and cache.cache is not None
        return cache_bytes(cache.cache)

    first = parts(ask(engine, "春眠"))
    small = held()
    parts(ask(engine, "处处闻啼鸟" * 300, (("春眠", first[2].text),)))
    assert held() > 4 * small
    again = parts(ask(engine, "春眠"))
    assert held() == small
    assert again[2].output_ids == first[2].output_ids
    assert again[0].reused_tokens > len(system)


def test_an_aborted_reply_discards_the_cache(made: Maker) -> None:
    engine = loaded(made("llama"))
    expected = parts(ask(engine))[2].output_ids
    events = engine.generate(_request(), lambda: False)
    for _ in range(4):
        next(events)
    events.close()
    assert parts(ask(engine))[2].output_ids == expected


def test_common_prefix() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4, 5]) == 2
    assert common_prefix([], [1]) == 0
    assert common_prefix([1, 2], [1, 2, 3]) == 2
