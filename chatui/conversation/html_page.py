"""A conversation as one HTML file: for dark and light screens and for paper, without any script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING

from chatui.conversation.exports import ending_of, marks_of, note_of
from chatui.conversation.rounds import Piece, Round
from chatui.conversation.transcript import Transcript
from chatui.locales import current_language, say
from chatui.prompting.parts import split_reply
from chatui.readable import moment, probability_step
from chatui.text import plain_text, token_in_quotes

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --text: #1d2129; --muted: #6b7280; --paper: #fcfbf8;
  --query: #efece4; --line: #ddd8cc; --accent: #8a3b2e; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e2dc; --muted: #9a978f; --paper: #17181b;
  --query: #24262b; --line: #34373d; --accent: #e0917f; } }
body { margin: 0 auto; max-width: 46rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--text); line-height: 1.7; overflow-wrap: anywhere;
  font-family: "Noto Serif CJK SC", "Source Han Serif SC", "Songti SC", Georgia, serif; }
h1 { font-size: 1.6rem; line-height: 1.3; margin: 0 0 .25rem; }
header p, .by, .note, summary { color: var(--muted); font-size: .85rem; margin: 0; }
section { border-top: 1px solid var(--line); margin-top: 1.75rem; padding-top: 1.25rem; }
.query { background: var(--query); border-left: 3px solid var(--accent); border-radius: 4px;
  padding: .6rem .9rem; white-space: pre-wrap; }
.by { margin: 1rem 0 .25rem; }
.plain { white-space: pre-wrap; }
.mark { color: var(--accent); }
.note { font-style: italic; margin-top: .75rem; white-space: pre-wrap; }
details { border-left: 1px solid var(--line); padding-left: .9rem; margin: .5rem 0;
  color: var(--muted); white-space: pre-wrap; }
pre { background: var(--query); border-radius: 4px; padding: .75rem .9rem; overflow-x: auto;
  white-space: pre-wrap; line-height: 1.45; }
code { font-family: "JetBrains Mono", Menlo, Consolas, monospace; font-size: .88em; }
table { border-collapse: collapse; } td, th { border: 1px solid var(--line); padding: .2rem .6rem; }
a { color: var(--accent); }
@media print { :root { --text: #000; --muted: #444; --paper: #fff; --query: #f4f4f4; --line: #bbb;
  --accent: #000; } body { max-width: none; padding: 0; font-size: 10.5pt; }
  .query { break-after: avoid; } pre, .query { break-inside: avoid-page; } }
"""


_TOKEN_STYLE = """
.tokens { white-space: pre-wrap; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.p1 { background: #3fa66b40; } .p2 { background: #d9a52059; } .p3 { background: #d1453b73; }
"""


def to_html(whole: Transcript, *, probabilities: bool = False) -> str:
    """HTML: the title, and for each round the query as it is and the reply as Markdown.

    All text is escaped; HTML in a reply stays text, pictures become links, and nothing is loaded
    from elsewhere. Thoughts are folded.

    Args:
        probabilities: a reply whose tokens' probabilities are known is shown as it came, each token
            in the colour of its probability, which its tooltip tells with the other candidates.
    """
    conversation = whole.conversation
    title = escape(plain_text(conversation.title))
    when = moment(conversation.updated_at)
    parts = [f"<header><h1>{title}</h1>", f"<p>{when}</p></header>"]
    pieces = whole.pieces if probabilities else {}
    parts += [_section(each, pieces.get(each.id, ())) for each in whole.path()]
    return page(title, "\n".join(parts), _TOKEN_STYLE if probabilities else "")


def page(title: str, body: str, style: str = "") -> str:
    """A whole file.

    Args:
        title, body: HTML, all text in it escaped.
        style: CSS behind the page's own.
    """
    parts = (
        "<!DOCTYPE html>",
        f'<html lang="{current_language()}">',
        '<head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{title}</title><style>{_STYLE}{style}</style></head>",
        f"<body>{body}",
        "</body></html>",
    )
    return "\n".join(parts) + "\n"


def _section(each: Round, pieces: Sequence[Piece]) -> str:
    parts = [f'<section><div class="query">{escape(_lines(each.query))}</div>']
    marks = [f'<span class="mark">{escape(mark)}</span>' for mark in marks_of(each)]
    if by := " · ".join(filter(None, (escape(plain_text(each.model)), *marks))):
        parts.append(f'<p class="by">{by}</p>')
    has_probabilities = any(piece.logprob is not None for piece in pieces)
    if has_probabilities:
        parts.append(f'<div class="tokens">{"".join(map(_token, pieces))}</div>')
    for part in () if has_probabilities else split_reply(each.reply):
        if part.kind == "answer":
            parts.append(_markdown(_lines(part.text)))
        else:
            name = escape(say(f"tui.fold.{part.kind}"))
            said = escape(_lines(part.text))
            parts.append(f"<details><summary>{name}</summary>{said}</details>")
    for words in filter(None, (ending_of(each), note_of(each))):
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


def _lines(text: str) -> str:
    return plain_text(text.replace("\r\n", "\n").replace("\r", "\n"))


def _markdown(text: str) -> str:
    return str(_reader().render(text))


@cache
def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Lines stay lines: a poem is no paragraph. HTML is text, and a picture only a link to it.
    reader = MarkdownIt("commonmark", {"html": False, "breaks": True}).enable("table")
    return reader.disable("image")
