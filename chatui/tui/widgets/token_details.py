"""The texts of the token panel: the facts about a round, and the details of one token."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual.content import Content
from textual.style import Style

from chatui.conversation.rounds import Piece, RenderedPrompt, Round
from chatui.locales import say
from chatui.readable import percent, size
from chatui.sampling import DEFAULTS
from chatui.text import one_line, plain_text, token_in_quotes
from chatui.tui.model_names import display_name
from chatui.tui.token_text import generated_pieces, speed_bars

CANDIDATE = "candidate"
"""Style metadata of a candidate's line: its number, from 1."""

_BAR_CELLS = 12


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
