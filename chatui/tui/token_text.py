"""A prompt as tokens, with special tokens highlighted, and the speed of a reply as bars."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from textual.content import Content

from chatui.conversation.rounds import Piece, RenderedPrompt
from chatui.readable import sparkline
from chatui.text import plain_text, token_in_quotes

_SPECIAL = re.compile(r"<[^<>\s]+>|\[[A-Za-z/]+\]|<\|[^|]+\|>")
_SPECIAL_STYLE = "bold $accent"
_MUTED = "$foreground-muted"
_BUCKETS = 24
_START_SECONDS = 0.005
"""Seconds after the start of a round before which no token can be generated."""


def prompt_text(prompt: RenderedPrompt) -> Content:
    """Return the exact text with visible line ends and highlighted special tokens.

    Special tokens that the tokenizer adds, such as ChatGLM's ``[gMASK] <sop>``, are inserted
    before or after the text, at their positions in the prompt.
    """
    special = {token for token in prompt.tokens if _SPECIAL.fullmatch(token)}
    text = plain_text(prompt.text)
    before = _added_tokens(prompt.tokens, special, text.startswith)
    after = _added_tokens(prompt.tokens[::-1], special, text.endswith)[::-1]
    if len(before) == len(prompt.tokens):
        after = []
    marks = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    parts = re.split(f"({marks}|\n)" if marks else "(\n)", text)
    return Content.assemble(
        *((token, _SPECIAL_STYLE) for token in before),
        *(_part(part, special) for part in parts if part),
        *((token, _SPECIAL_STYLE) for token in after),
    )


def _added_tokens(
    tokens: Sequence[str], special: set[str], is_in_text: Callable[[str], bool]
) -> list[str]:
    """Return the special tokens at the start of ``tokens`` that are not in the text."""
    found: list[str] = []
    for token in tokens:
        if token not in special or is_in_text(token):
            break
        found.append(token)
    return found


def _part(part: str, special: set[str]) -> tuple[str, str]:
    if part == "\n":
        return "⏎\n", _MUTED
    return part, _SPECIAL_STYLE if part in special else ""


def token_table(prompt: RenderedPrompt) -> Content:
    """Return one row for each token: position (two for ChatGLM-6B), id and text."""
    rows = prompt.position_ids or (tuple(range(len(prompt.input_ids))),)
    positions = ["/".join(map(str, column)) for column in zip(*rows, strict=True)]
    ids = list(map(str, prompt.input_ids))
    widths = [max(map(len, column), default=0) for column in (positions, ids)]
    lines = []
    for position, id_, token in zip(positions, ids, prompt.tokens, strict=False):
        style = _SPECIAL_STYLE if _SPECIAL.fullmatch(token) else ""
        lines.append(
            Content.assemble(
                (f"{position:>{widths[0]}}  ", _MUTED),
                f"{id_:>{widths[1]}}  ",
                (plain_text(token_in_quotes(token)), style),
            )
        )
    return Content("\n").join(lines)


def generated_pieces(pieces: Sequence[Piece]) -> Sequence[Piece]:
    """Return the pieces without those of the reply that this one continues."""
    first = next((i for i, each in enumerate(pieces) if each.at_seconds >= _START_SECONDS), 0)
    return pieces[first:]


def speed_bars(pieces: Sequence[Piece]) -> str:
    """Draw the tokens per second during a reply as bars; "" if the reply is too short."""
    if len(pieces) < _BUCKETS:
        return ""
    first, span = pieces[0].at_seconds, pieces[-1].at_seconds - pieces[0].at_seconds
    if span <= 0:
        return ""
    counts = [0] * _BUCKETS
    for piece in pieces:
        counts[min(int((piece.at_seconds - first) / span * _BUCKETS), _BUCKETS - 1)] += 1
    return sparkline(counts, low=0)
