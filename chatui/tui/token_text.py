"""The texts of the token panel: the facts about a round, its prompt, the details of one token."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import takewhile

from textual.content import Content
from textual.style import Style

from chatui.conversation.rounds import Piece, RenderedPrompt, Round
from chatui.locales import say
from chatui.readable import percent, size, sparkline
from chatui.sampling import DEFAULTS
from chatui.text import one_line, plain_text, token_in_quotes
from chatui.tui.model_names import display_name

CANDIDATE = "candidate"
"""Style metadata of a candidate's line: its number, from 1."""

_BAR_CELLS = 12
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
    before = list(
        takewhile(lambda each: each in special and not text.startswith(each), prompt.tokens)
    )
    rest = reversed(prompt.tokens[len(before) :])
    after = list(takewhile(lambda each: each in special and not text.endswith(each), rest))
    marks = "|".join(map(re.escape, sorted(special, key=len, reverse=True)))
    parts = re.split(f"({marks}|\n)" if marks else "(\n)", text)
    return Content.assemble(
        *((token, _SPECIAL_STYLE) for token in before),
        *(_part(part, special) for part in parts if part),
        *((token, _SPECIAL_STYLE) for token in reversed(after)),
    )


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


def round_facts(round_: Round, prompt: RenderedPrompt | None, pieces: Sequence[Piece]) -> Content:
    """Return the author, counts, speed, and the sampling settings that differ from the defaults."""
    lines = [
        " · ".join(filter(None, (one_line(display_name(round_.model)), round_.format))),
    ]
    if prompt is not None or round_.prompt_tokens:
        lines.append(
            say(
                "tui.token_panel.counts",
                prompt=round_.prompt_tokens,
                reused=round_.reused_tokens,
                limit=(prompt.context_limit if prompt else 0) or "?",
            )
        )
    if prompt is not None and prompt.memory_bytes:
        lines.append(say("overview.token_panel.memory", size=size(prompt.memory_bytes)))
    if prompt is not None and prompt.dropped_rounds:
        lines.append(say("tui.round.dropped", count=prompt.dropped_rounds))
    if pieces := generated_pieces(pieces):
        span = pieces[-1].at_seconds - pieces[0].at_seconds
        speed = (len(pieces) - 1) / span if span > 0 else 0.0
        first = f"{pieces[0].at_seconds:.2f}"
        lines.append(say("tui.token_panel.speed", first=first, speed=f"{speed:.1f}"))
        lines.append(speed_bars(pieces))
    settings = [
        f"{name} {value}"
        for name, value in round_.sampling.items()
        if name not in ("seed", "begun_pieces", "next_id")
        and value is not None
        and value != getattr(DEFAULTS, name, None)
    ]
    if round_.seed is not None:
        settings.append(f"seed {round_.seed}")
    lines.append(one_line(", ".join(settings), None))
    return Content("\n".join(filter(None, lines)))


def token_details(piece: Piece, candidate: int) -> Content:
    """Return a token's probability and its alternatives, each as a clickable line.

    Args:
        candidate: number of the highlighted alternative, from 1; 0 for none.
    """
    share = "?" if piece.logprob is None else percent(math.exp(piece.logprob))
    # Half a character has no text; its byte token stands among the alternatives.
    texts = {id_: token for id_, token, _ in piece.alternatives}
    name = plain_text(token_in_quotes(piece.text or texts.get(piece.token_id, "")))
    at = f"{piece.at_seconds:.2f}"
    words = say("tui.token_panel.token", token=name, id=piece.token_id, share=share, at=at)
    lines = [Content.styled(words, "bold")]
    for number, (id_, token, probability) in enumerate(piece.alternatives, 1):
        bar = "▇" * round(probability * _BAR_CELLS) or "▏"
        name = plain_text(token_in_quotes(token))
        mark = "▸" if number == candidate else " "
        text = f"{mark}{number} {bar:<{_BAR_CELLS}} {percent(probability):>6}  {name}"
        line = Content.styled(text, "$accent" if id_ == piece.token_id else "")
        lines.append(line.stylize(Style.from_meta({CANDIDATE: number})))
    hint = "take" if piece.alternatives else "no_alternatives"
    lines.append(Content.styled(say(f"tui.token_panel.{hint}"), "$foreground-muted"))
    return Content("\n").join(lines)
