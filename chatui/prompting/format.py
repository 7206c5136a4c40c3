"""A prompt format: how rounds become exactly what a model reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from chatui.messages import Done, Prefill, ReplyEvent, Token

Exchange: TypeAlias = tuple[str, str]
"""An earlier round as (query, reply)."""

Render: TypeAlias = Callable[[Sequence[Exchange], str, str | None], str]
"""(history, query, system) -> prompt. ``system`` None means the format's own, if it has one."""

_MARK = "\uf8ff"


def cut_at(*marks: str) -> Callable[[str], str]:
    """A clean-up that cuts the reply at the first of ``marks``, and strips it."""

    def clean(text: str) -> str:
        for mark in marks:
            text = text.partition(mark)[0]
        return text.strip()

    return clean


@dataclass(frozen=True)
class PromptFormat:
    """A named pair of pure functions, and what ends a reply.

    Attributes:
        name: the system's key, e.g. "chatglm-6b" or "chinese-vicuna:chat".
        render: from rounds to the prompt.
        source: repository and file that the format was read from.
        stop_strings: the model running on into the next round is cut here.
        clean_reply: from the raw reply to the reply as shown and kept.
        system: the format's own system prompt or preamble; None if it has none.
        unstopped: whether a query asks for free text, which no stop string ends and no clean-up
            changes; None if no query does.
        free_tokens: limit of a free text in tokens, if the user sets none; None for no limit.
        thinking: the renderer with thinking on (True), off (False) or as the model has it (None);
            None if thinking cannot be switched.
        literal: whether special tokens that a message spells are text. The formats of 2023 read
            them as special tokens, as their originals do.
        answered: the fixed answer to a query that needs no model, e.g. a command that clears the
            chat, else None; None if the format has no such query.
    """

    name: str
    render: Render
    source: str = ""
    stop_strings: tuple[str, ...] = ()
    clean_reply: Callable[[str], str] = str.strip
    system: str | None = None
    unstopped: Callable[[str], bool] | None = None
    free_tokens: int | None = None
    thinking: Callable[[bool | None], Render] | None = None
    literal: bool = False
    answered: Callable[[str], str | None] | None = None

    def renderer(self, thinking: bool | None) -> Render:
        """The renderer with thinking on, off or as the model has it; ignored without a switch."""
        return self.render if self.thinking is None else self.thinking(thinking)

    def stops_for(self, query: str) -> tuple[str, ...]:
        """The stop strings of the reply to ``query``."""
        return () if self.is_free(query) else self.stop_strings

    def answer_to(self, query: str) -> str | None:
        """The fixed answer to a query that needs no model; None for all others."""
        return self.answered(query) if self.answered is not None else None

    def is_free(self, query: str) -> bool:
        """Whether ``query`` asks for free text."""
        return self.unstopped is not None and self.unstopped(query)

    def begun(self, query: str, text: str) -> str:
        """What follows the prompt of ``query`` if the reply has begun with ``text``.

        It starts with what the format writes before the reply of an earlier round.
        """
        asked, answered = self.render((), query, None), self.render(((query, _MARK),), "", None)
        if text[:1].isspace() or _MARK not in answered or not answered.startswith(asked):
            return text
        return answered[len(asked) : answered.index(_MARK)] + text

    def clean(self, query: str, text: str) -> str:
        """The reply to ``query`` as shown and kept."""
        return text if self.is_free(query) else self.clean_reply(text)


def dialogue(
    name: str,
    source: str,
    *,
    asked: str,
    answered: str,
    opening: str = "{system}\n",
    system: str | None = None,
    first: int = 0,
    stops: Sequence[str] = (),
    strip_query: bool = False,
) -> PromptFormat:
    """A format whose prompt is an opening and then rounds of one pattern.

    Args:
        asked: a round up to the reply, with ``{query}`` and, if rounds are numbered, ``{number}``.
        answered: the rest of a round, with ``{reply}``.
        opening: what a system text makes, with ``{system}``.
        system: the format's own system text.
        first: number of the first round.
        stops: stop strings; they also end a finished reply.
        strip_query: strip white space off queries.
    """

    def ask(query: str, number: int) -> str:
        return asked.format(query=query.strip() if strip_query else query, number=number)

    def render(history: Sequence[Exchange], query: str, told: str | None = None) -> str:
        text = system if told is None else told
        parts = [opening.format(system=text)] if text else []
        for number, (earlier, reply) in enumerate(history, first):
            parts += [ask(earlier, number), answered.format(reply=reply)]
        return "".join([*parts, ask(query, first + len(history))])

    return PromptFormat(name, render, source, tuple(stops), cut_at(*stops), system)


def fixed_reply(answer: str, context_limit: int) -> tuple[ReplyEvent, ...]:
    """The events of a reply that says ``answer`` at once, without the model."""
    return Prefill("", context_limit=context_limit), Token(answer), Done(answer, "stop")
