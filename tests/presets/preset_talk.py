"""A conversation of three rounds, with all that can be said about it without the real weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from chatui.engine.engine import Engine
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, ReplyEvent, Token
from chatui.prompting import formats
from chatui.prompting.format import Exchange, Render
from chatui.prompting.formats import CHAT_TEMPLATE

QUERIES = ("春眠不觉晓", "Who are you?", "处处闻啼鸟，\n夜来风雨声。")
REPLY_TOKENS = 10
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
    """How a prompt has to be: by the format's own function, or by the folder's chat template."""
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
    """The reply that the tokens' texts make."""
    streamed = "".join(token.text for token in tokens)
    if spec.format == CHAT_TEMPLATE:
        return streamed.strip()
    return formats.get(spec.format or "").clean(query, streamed)


def three_rounds(spec: ModelSpec) -> None:
    """Hold the conversation: streaming, repeating, stopping, and a window that is too small."""
    engine, loaded = load(spec)
    assert (loaded.name, loaded.family, loaded.format) == (spec.name, spec.family, spec.format)
    assert loaded.context_limit == spec.context_limit or spec.context_limit is None
    render = renderer(spec)
    history: list[Exchange] = []
    lengths = []
    for query in QUERIES:
        prefill, tokens, done = ask(engine, request(spec, query, history))
        assert prefill.prompt == render(history, query, None)
        assert query in prefill.prompt
        assert prefill.dropped_rounds == 0
        assert done.text == shown(spec, query, tokens)
        assert tuple(token.id for token in tokens) == done.output_ids
        assert 0 < done.output_tokens <= REPLY_TOKENS
        assert done.finish_reason in ("length", "stop", "eos")
        history.append((query, done.text or "嗯"))
        lengths.append(prefill.prompt_tokens)
    # ChatGLM-6B sees a prompt in both directions: a longer one shares nothing with it.
    assert (prefill.reused_tokens > 0) == (spec.family != "chatglm")
    again = ask(engine, request(spec, QUERIES[2], history[:2]))[2]
    assert (again.output_ids, again.text) == (done.output_ids, done.text)

    cut(engine, spec, history[:2], tokens)
    stopped(engine, spec, history)
    assert lengths[0] < lengths[1] < lengths[2]
    trimmed(engine, spec, render, history[:2], lengths[2])


def cut(
    engine: Engine, spec: ModelSpec, history: Sequence[Exchange], tokens: Sequence[Token]
) -> None:
    """The same reply with a stop string that is in the middle of it, across its tokens."""
    streamed = "".join(token.text for token in tokens)
    if len(streamed) < 4:
        return
    asked = replace(request(spec, QUERIES[2], history), stop_strings=(streamed[2:4],))
    _, tokens, done = ask(engine, asked)
    assert done.finish_reason == "stop"
    assert "".join(token.text for token in tokens) == streamed.partition(streamed[2:4])[0]
    assert done.text == shown(spec, QUERIES[2], tokens)


def stopped(engine: Engine, spec: ModelSpec, history: Sequence[Exchange]) -> None:
    """The user stops after two tokens, and what was said stays.

    Random weights may end a reply on the first token; another seed does not.
    """
    for seed in range(5):
        wanted = False
        events: list[ReplyEvent] = []
        asked = request(spec, "停", history, seed=seed, max_new_tokens=100)
        for event in engine.generate(asked, lambda: wanted):  # noqa: B023
            events.append(event)
            wanted = sum(isinstance(event, Token) for event in events) == 2
        _, tokens, done = parts(events)
        if done.finish_reason == "cancelled":
            assert done.output_tokens == 2
            assert done.text == shown(spec, "停", tokens)
            return
        assert done.output_tokens <= 2
    raise AssertionError("no reply could be stopped")


def trimmed(
    engine: Engine, spec: ModelSpec, render: Render, history: Sequence[Exchange], length: int
) -> None:
    """One token too few for all rounds: the oldest goes, and it is said."""
    reserve = 4
    small = replace(spec, context_limit=length - 1 + reserve, reply_reserve=reserve)
    assert load(small, engine)[1].context_limit == small.context_limit
    prefill, _, done = ask(engine, request(small, QUERIES[2], history))
    assert prefill.dropped_rounds >= 1
    assert prefill.prompt == render(history[prefill.dropped_rounds :], QUERIES[2], None)
    assert prefill.prompt_tokens + done.output_tokens <= length - 1 + reserve
