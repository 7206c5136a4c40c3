"""Presets of different families one after another in the engine's own process."""

from __future__ import annotations

from dataclasses import replace

import pytest
from preset_shelf import Preset
from preset_talk import QUERIES, parts, renderer, request, shown

from chatui.backends.local import LocalBackend
from chatui.messages import GenerateRequest, Loaded, ReplyEvent, Token

PRESETS = ("chatglm-6b-int4", "chinese-alpaca-7b-plus", "llmzoo-chimera-7b", "qwen3-0.6b")


async def replied(
    backend: LocalBackend, asked: GenerateRequest, stop_after: int = 0
) -> list[ReplyEvent]:
    events: list[ReplyEvent] = []
    async for event in backend.generate(asked):
        events.append(event)
        if stop_after and sum(isinstance(event, Token) for event in events) == stop_after:
            await backend.stop()
    return events


@pytest.mark.timeout(300)
async def test_one_after_another(preset: Preset) -> None:
    backend = LocalBackend()
    try:
        for name in PRESETS:
            spec = preset(name)
            *_, loaded = [event async for event in backend.load(spec)]
            assert isinstance(loaded, Loaded)
            assert (loaded.name, loaded.family) == (name, spec.family)
            render = renderer(spec)
            history: list[tuple[str, str]] = []
            for query in QUERIES:
                asked = request(spec, query, history)
                prefill, tokens, done = parts(await replied(backend, asked))
                assert prefill.prompt == render(history, query, None)
                assert done.text == shown(spec, query, tokens)
                history.append((query, done.text or "嗯"))
            small = replace(spec, context_limit=prefill.prompt_tokens + 3, reply_reserve=4)
            asked = request(spec, "停", history[:1], max_new_tokens=None)
            _, tokens, done = parts(await replied(backend, asked, stop_after=2))
            assert done.finish_reason in ("cancelled", "eos", "stop")
            assert done.output_tokens < 200
            async for _ in backend.load(small):
                pass
            asked = request(small, QUERIES[2], history[:2])
            assert parts(await replied(backend, asked))[0].dropped_rounds >= 1
    finally:
        await backend.close()
