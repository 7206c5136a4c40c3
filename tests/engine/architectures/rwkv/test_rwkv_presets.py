"""Chats with RWKV's presets, from files in Hugging Face's cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import forked_engine
import pytest
import tiny_rwkv
from conftest import Ask

from chatui.backends.local import LocalBackend
from chatui.catalog import library, resolve
from chatui.engine.engine import Engine
from chatui.messages import Done, GenerateRequest, ModelSpec, Prefill, Token
from chatui.settings import Settings

PRESETS = ["chatrwkv-3b", "chatrwkv-world-0.4b"]
"""One with each vocabulary; those of other sizes are put together alike."""
QUERIES = ("春眠不觉晓", "处处闻啼鸟", "夜来风雨声")


@pytest.fixture
def preset(tmp_path: Path) -> Callable[[str], ModelSpec]:
    """Return a function that puts a preset's files into Hugging Face's cache."""

    def put(name: str) -> ModelSpec:
        found = library.load().by_name[name]
        tokenizer = found.fields.tokenizer
        assert tokenizer
        make = tiny_rwkv.world if "world" in name else tiny_rwkv.raven
        weights = make(_snapshot(tmp_path, found.base.hf), found.base.file)
        file = weights.parent / (tiny_rwkv.WORLD_FILE if "world" in name else tiny_rwkv.PILE_FILE)
        file.rename(_snapshot(tmp_path, tokenizer.hf) / (tokenizer.file or "tokenizer.json"))
        return resolve(name, Settings(dtype="float32"))

    return put


def _snapshot(root: Path, hub_id: str) -> Path:
    repository = root / "huggingface" / "hub" / f"models--{hub_id.replace('/', '--')}"
    folder = repository / "snapshots" / "0123abcd"
    folder.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    return folder


@pytest.mark.parametrize("name", PRESETS)
def test_three_rounds(name: str, preset: Callable[[str], ModelSpec], ask: Ask) -> None:
    spec = preset(name)
    engine = Engine()
    loaded = engine.load(spec, lambda _: None)
    facts = library.load().by_name[name].fields
    assert (loaded.family, loaded.format) == ("rwkv", facts.format)
    assert loaded.context_limit == facts.context_limit
    sampling = vars(replace(spec.sampling, seed=1, max_new_tokens=16))
    history: tuple[tuple[str, str], ...] = ()
    for query in QUERIES:
        prefill, tokens, done = ask(engine, query, history, system=None, **sampling)
        assert "".join(token.text for token in tokens).strip() == done.text
        assert len(done.output_ids) == len(tokens) > 0
        history = (*history, (query, done.text))
    assert prefill.prompt_tokens - prefill.reused_tokens < 80 < prefill.reused_tokens
    answers = iter([False, False, False, False])
    stopped = ask(engine, "停", history, stop_wanted=lambda: next(answers, True), **sampling)[2]
    assert stopped.finish_reason == "cancelled"
    short = Engine()
    short.load(replace(spec, context_limit=prefill.prompt_tokens), lambda _: None)
    trimmed, _, _ = ask(short, QUERIES[2], history[:2], system=None, **sampling)
    assert trimmed.dropped_rounds > 0
    assert QUERIES[2] in trimmed.prompt


async def test_in_the_engines_process(preset: Callable[[str], ModelSpec], engines: None) -> None:
    backend = forked_engine.forking(LocalBackend())
    try:
        spec = preset("chatrwkv-3b")
        async for _ in backend.load(spec):
            pass
        history: tuple[tuple[str, str], ...] = ()
        for query in (*QUERIES, "+", "+reset", "春"):
            sampling = replace(spec.sampling, seed=3, max_new_tokens=8)
            request = GenerateRequest(query, history, sampling=sampling)
            first, *tokens, last = [event async for event in backend.generate(request)]
            assert isinstance(first, Prefill)
            assert isinstance(last, Done)
            streamed = "".join(token.text for token in tokens if isinstance(token, Token))
            assert streamed.strip() == last.text
            if history and query != "+reset":
                assert first.prompt_tokens - first.reused_tokens < 80
            history = (*history, (query, last.text))
        assert history[4] == ("+reset", "The chat was reset.")
        assert first.prompt.count("Bob: ") == 3
    finally:
        await backend.close()
