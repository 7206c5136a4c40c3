"""How the rounds share the context window, and which of them falls out of it next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.prompting.parts import reply_for_history
from chatui.text import one_line

_NEARLY_FULL = 0.1
"""The oldest round is marked where less of the window than this is left."""


@dataclass(frozen=True)
class ContextUse:
    """What the model read for the last round.

    Attributes:
        rounds: those in the prompt, oldest first, the last one with its query alone.
        tokens: of each, about: the prompt's, shared out by the bytes of the texts.
        numbers: of each, counted from 1 in the conversation.
        dropped: how many older rounds were left out.
        reserve: tokens that a prompt leaves to the reply.
    """

    rounds: tuple[Round, ...]
    tokens: tuple[int, ...]
    numbers: tuple[int, ...]
    dropped: int
    reserve: int

    def free_tokens(self, used: int, limit: int) -> int:
        """Tokens that the next query can have before a round falls out; less than 0 for none."""
        return limit - self.reserve - used

    def rounds_to_drop(self, used: int, limit: int) -> int:
        """How many of the oldest rounds fall out with the next query, whatever its length."""
        missing, count = -self.free_tokens(used, limit), 0
        for tokens in self.tokens:
            if missing < 0:
                break
            missing, count = missing - tokens, count + 1
        return count


def measure_context_use(
    rounds: Sequence[Round], prompt_tokens: int, dropped: int, reserve: int
) -> ContextUse | None:
    """How the rounds share a prompt; None if nothing is known of it.

    Args:
        rounds: of the path, from the first to the one whose prompt it is.
        prompt_tokens: the prompt's length.
        dropped: how many rounds of those that can be read were left out.
        reserve: tokens that it leaves to the reply.
    """
    if not rounds or not prompt_tokens:
        return None
    read = [(number, each) for number, each in enumerate(rounds[:-1], 1) if _text(each).strip()]
    kept = [*read[dropped:], (len(rounds), rounds[-1])]
    sizes = [len((each.query + _text(each)).encode(errors="replace")) for _, each in kept[:-1]]
    sizes.append(len(rounds[-1].query.encode(errors="replace")))
    total = sum(sizes) or 1
    tokens = tuple(size * prompt_tokens // total for size in sizes)
    numbers, kept_rounds = zip(*kept, strict=True)
    return ContextUse(kept_rounds, tokens, numbers, dropped, reserve)


def _text(round_: Round) -> str:
    return reply_for_history(round_.reply)


def meter(use: ContextUse | None, used: int, limit: int, cells: int) -> list[tuple[str, str]]:
    """The window as a bar: a part for each round in turn, and what is free; (text, style) each."""
    if not limit:
        return []
    sizes = [] if use is None else list(use.tokens)
    rest = max(0, used - sum(sizes))
    if sizes:
        sizes[-1] += rest
    else:
        sizes = [rest]
    is_nearly_full = use is not None and use.free_tokens(used, limit) < limit * _NEARLY_FULL
    parts: list[tuple[str, str]] = []
    end = at = 0
    for index, size in enumerate(sizes):
        end += size
        cell = min(cells, max(1, round(end / limit * cells)))
        style = "$accent" if (len(sizes) - index) % 2 else "$accent 50%"
        if is_nearly_full and index == 0 and len(sizes) > 1:
            style = "$warning"
        if cell > at:
            parts.append(("━" * (cell - at), style))
            at = cell
    return [*parts, ("╌" * (cells - at), "$foreground-muted")]


def describe(use: ContextUse, used: int, limit: int) -> list[str]:
    """What is in the window, and what falls out next; a sentence each."""
    if not limit:
        return []
    first, last = use.numbers[0], use.numbers[-1]
    lines = [say("overview.context.inside", first=first, last=last)]
    if first == last:
        lines = [say("overview.context.one", number=last)]
    if use.dropped:
        lines.append(say("overview.context.dropped", count=use.dropped))
    if len(use.rounds) == 1:
        return lines
    values = {
        "number": first,
        "query": one_line(use.rounds[0].query, 24),
        "tokens": use.tokens[0],
    }
    room = use.free_tokens(used, limit)
    if room > 0:
        lines.append(say("overview.context.next_after", room=room, **values))
    else:
        falls = min(use.rounds_to_drop(used, limit), len(use.rounds) - 1)
        lines.append(say("overview.context.next", **values))
        if falls > 1:
            lines.append(say("overview.context.more", last=use.numbers[falls - 1]))
    return lines
