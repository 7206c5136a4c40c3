"""A reply that needs no model: what a format answers to a command of its users."""

from __future__ import annotations

from chatui.messages import Done, Prefill, ReplyEvent, Token


def canned(answer: str, context_limit: int) -> tuple[ReplyEvent, ...]:
    """The events of a reply that says ``answer`` at once; nothing is read and nothing sampled."""
    return Prefill("", context_limit=context_limit), Token(answer), Done(answer, "stop")
