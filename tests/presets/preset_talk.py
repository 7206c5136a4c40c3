"""A conversation of three rounds with a preset."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatui.engine.engine import Engine
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, ReplyEvent, Token
from chatui.prompting import formats
from chatui.prompting.format import CHAT_TEMPLATE, Exchange, Render

QUERIES = ("春眠不觉晓", "Who are you?", "处处闻啼鸟，\n夜来风雨声。")
REPLY_TOKENS = 5
Reply = tuple[Prefill, list[Token], Done]


def load(spec: ModelSpec, engine: Engine | None = None) -> tuple[Engine, Loaded]:
    engine = engine or Engine()
    return engine, engine.load(spec, lambda _: None)


def request(
    spec: ModelSpec, query: str, history: Sequence[Exchange] = (), **sampling: Any
) -> GenerateRequest:
    """A query with the preset's own sampling, but seeded and short."""
    settings = replace(spec.sampling, **{"seed": 7, "max_new_tokens": REPLY_TOKENS} | sampling)
    return GenerateRequest(query, tuple(history), sampling=settings)


def parts(events: Sequence[ReplyEvent]) -> Reply:
    first, *tokens, last = events
    assert isinstance(first, Prefill)
    assert isinstance(last, Done)
    return first, [token for token in tokens if isinstance(token, Token)], last


def ask(engine: Engine, asked: GenerateRequest) -> Reply:
    return parts(list(engine.generate(asked, lambda: False)))


def renderer(spec: ModelSpec) -> Render:
    """The expected prompt, by the format's function or by the folder's chat template."""
    if spec.format != CHAT_TEMPLATE:
        return formats.get(spec.format or "").render
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    file = Path(spec.path) / "tokenizer_config.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    first = said.get("bos_token")
    empty = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE()),
        bos_token=first["content"] if isinstance(first, dict) else first,
        chat_template=said["chat_template"],
    )

    def render(history: Sequence[Exchange], query: str, system: str | None = None) -> str:
        roles = ("user", "assistant")
        said = [list(zip(roles, exchange, strict=True)) for exchange in history]
        pairs = [*(pair for round_ in said for pair in round_), ("user", query)]
        messages = [{"role": role, "content": content} for role, content in pairs]
        text: str = empty.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text

    return render


def shown(spec: ModelSpec, query: str, tokens: Sequence[Token]) -> str:
    """The reply as the texts of its tokens."""
    streamed = "".join(token.text for token in tokens)
    if spec.format == CHAT_TEMPLATE:
        return streamed.strip()
    return formats.get(spec.format or "").clean(query, streamed)


def three_rounds(engine: Engine, spec: ModelSpec) -> None:
    """Check the prompts, the streamed replies, and that the seed repeats them."""
    render = renderer(spec)
    history: list[Exchange] = []
    for query in QUERIES:
        prefill, tokens, done = ask(engine, request(spec, query, history))
        assert prefill.prompt == render(history, query, None)
        assert prefill.dropped_rounds == 0
        assert done.text == shown(spec, query, tokens)
        assert tuple(token.id for token in tokens) == done.output_ids
        # Random weights may write the end of thinking, before which templates cut a reply.
        history.append((query, done.text.replace("</think>", "") or "嗯"))
    # ChatGLM-6B sees a prompt in both directions: a longer one shares nothing with it.
    assert (prefill.reused_tokens > 0) == (spec.family != "chatglm")
    again = ask(engine, request(spec, QUERIES[2], history[:2]))[2]
    assert (again.output_ids, again.text) == (done.output_ids, done.text)
