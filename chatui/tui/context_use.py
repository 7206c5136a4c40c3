"""How the rounds share the context window, and which round is dropped next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.prompting.parts import reply_for_history
from chatui.text import one_line

_NEARLY_FULL = 0.1
"""The oldest round is marked if a smaller share of the window is left."""


@dataclass(frozen=True)
class ContextUse:
    """The rounds in the last prompt.

    Attributes:
        rounds: the rounds, oldest first; of the last one the prompt has only the query.
        tokens: an estimate for each round: the prompt's tokens divided by the texts' bytes.
        numbers: the number of each round in the conversation, from 1.
        dropped: the number of older rounds left out of the prompt.
        reserve: the tokens that a prompt leaves free for the reply.
    """

    rounds: tuple[Round, ...]
    tokens: tuple[int, ...]
    numbers: tuple[int, ...]
    dropped: int
    reserve: int

    def free_tokens(self, used: int, limit: int) -> int:
        """Return the tokens of the longest query that drops no round; negative if all do."""
        return limit - self.reserve - used

    def rounds_to_drop(self, used: int, limit: int) -> int:
        """Return the number of oldest rounds that even the shortest next query drops."""
        missing = -self.free_tokens(used, limit)
        freed_before = list(accumulate(self.tokens, initial=0))[:-1]
        return sum(freed <= missing for freed in freed_before)


def measure_context_use(
    rounds: Sequence[Round], prompt_tokens: int, dropped: int, reserve: int
) -> ContextUse | None:
    """Divide a prompt's tokens among its rounds; None without rounds or tokens.

    Args:
        rounds: the rounds from the first to the one that the prompt was for.
        prompt_tokens: the prompt's length.
        dropped: the number of rounds with text that were left out.
        reserve: the tokens that the prompt leaves free for the reply.
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
    """Draw the window as a bar: (text, style) for each round, then for the free part."""
    if not limit:
        return []
    sizes = [0] if use is None else list(use.tokens)
    sizes[-1] += max(0, used - sum(sizes))
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
    """Describe in sentences what is in the window and what is dropped next."""
    if not limit:
        return []
    first, last = use.numbers[0], use.numbers[-1]
    inside = say("overview.context.inside", first=first, last=last)
    lines = [say("overview.context.one", number=last) if first == last else inside]
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
        count = min(use.rounds_to_drop(used, limit), len(use.rounds) - 1)
        lines.append(say("overview.context.next", **values))
        if count > 1:
            lines.append(say("overview.context.more", last=use.numbers[count - 1]))
    return lines
