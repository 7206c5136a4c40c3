"""Export a conversation as one HTML file for dark and light screens and paper, without scripts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from chatui.conversation.exports import note_line, reply_marks, state_line, with_line_feeds
from chatui.conversation.rounds import Piece, Round, Transcript
from chatui.locales import current_language, say
from chatui.prompting.parts import split_reply
from chatui.readable import date_and_time, probability_step
from chatui.text import plain_text, token_in_quotes

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = Path(__file__).with_suffix(".css")


def to_html(transcript: Transcript, probabilities: bool = False) -> str:
    """Return HTML: the title, then each round with the raw query and the reply as Markdown.

    All text is escaped, HTML in a reply too. Images become links and nothing is loaded from other
    hosts. Thoughts are collapsed.

    Args:
        probabilities: show replies with known probabilities as raw tokens, each coloured by its
            probability, with the other candidates in a tooltip.
    """
    conversation = transcript.conversation
    title = escape(plain_text(conversation.title))
    when = date_and_time(conversation.updated_at)
    parts = [f"<header><h1>{title}</h1>", f"<p>{when}</p></header>"]
    pieces = transcript.pieces if probabilities else {}
    parts += [_section(each, pieces.get(each.id, ())) for each in transcript.path()]
    return page(title, "\n".join(parts))


def page(title: str, body: str, style: str = "") -> str:
    """Return a complete HTML document.

    Args:
        title, body: HTML with all text escaped.
        style: CSS to add to the page's own.
    """
    parts = (
        "<!DOCTYPE html>",
        f'<html lang="{current_language()}">',
        '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{title}</title><style>\n{_STYLE.read_text('utf-8')}{style}</style></head>",
        f"<body>{body}",
        "</body></html>",
    )
    return "\n".join(parts) + "\n"


def _section(each: Round, pieces: Sequence[Piece]) -> str:
    parts = [f'<section><div class="query">{escape(with_line_feeds(each.query))}</div>']
    marks = [f'<span class="mark">{escape(mark)}</span>' for mark in reply_marks(each)]
    if by := " · ".join(filter(None, (escape(plain_text(each.model)), *marks))):
        parts.append(f'<p class="by">{by}</p>')
    has_probabilities = any(piece.logprob is not None for piece in pieces)
    if has_probabilities:
        parts.append(f'<div class="tokens">{"".join(map(_token, pieces))}</div>')
    for part in () if has_probabilities else split_reply(each.reply):
        if part.kind == "answer":
            parts.append(str(_markdown_renderer().render(with_line_feeds(part.text))))
        else:
            name = escape(say(f"tui.fold.{part.kind}"))
            said = escape(with_line_feeds(part.text))
            parts.append(f"<details><summary>{name}</summary>{said}</details>")
    for words in filter(None, (state_line(each), note_line(each))):
        parts.append(f'<p class="note">{escape(words)}</p>')
    return "\n".join([*parts, "</section>"])


def _token(piece: Piece) -> str:
    text = escape(plain_text(piece.text))
    if piece.logprob is None or not text:
        return text
    others = [
        f"{token_in_quotes(token)} {share:.1%}" for _, token, share in piece.alternatives
    ]  # fmt: skip
    words = escape(plain_text("\n".join([f"{math.exp(piece.logprob):.1%}", *others])))
    return f'<span class="p{probability_step(piece.logprob)}" title="{words}">{text}</span>'


@cache
def _markdown_renderer() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Line breaks are kept, as in poems. HTML is shown as text, and images become links.
    renderer = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table")
    return renderer.disable("image")
