"""A conversation's title, written by the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Round, title_from_query
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, ModelSpec, Token
from chatui.prompting.parts import answer_of, prompt_history

_ROUNDS = 3
_CHARACTERS = 500
_TOKENS = 48
_MARKS = " \t#*_《》「」“”\"'。.：:"


async def generate_title(backend: Backend, rounds: Sequence[Round], spec: ModelSpec) -> str:
    """What the model calls a conversation that begins with ``rounds``: one short line.

    Raises:
        ChatuiError: the model cannot answer, or its answer has no text.
    """
    first = [(each.query[:_CHARACTERS], each.reply[:_CHARACTERS]) for each in rounds[:_ROUNDS]]
    request = GenerateRequest(
        say("organise.title.ask"),
        prompt_history(first),
        sampling=replace(spec.sampling, max_new_tokens=_TOKENS),
        think=False,
    )
    text = ""
    async for event in backend.generate(request):
        text += event.text if isinstance(event, Token) else ""
    lines = (line.strip(_MARKS) for line in answer_of(text).splitlines())
    title = title_from_query(next(filter(None, lines), ""))
    if not title:
        raise ChatuiError(say("organise.title.none"))
    return title
