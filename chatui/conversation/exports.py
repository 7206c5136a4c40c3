"""Export conversations as Markdown, plain text and HTML; write text files atomically.

An HTML page is one file for dark and light screens and paper, without scripts.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from chatui.conversation.rounds import Piece, Round, Transcript
from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.prompting.parts import split_reply
from chatui.readable import date_and_time, probability_step
from chatui.text import one_line, plain_text, token_in_quotes

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = Path(__file__).with_suffix(".css")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def to_markdown(transcript: Transcript) -> str:
    """Return Markdown: the title, then each round with a quoted query and the unchanged reply.

    The lines of a reply, such as verses, stay separate: outside fenced code each ends with two
    spaces, Markdown's line break.
    """
    parts = [f"# {plain_text(transcript.conversation.title)}"]
    for number, each in enumerate(transcript.path(), 1):
        quoted = "\n".join(f"> {line}".rstrip() for line in with_line_feeds(each.query).split("\n"))
        notes = filter(None, (*reply_marks(each), one_line(note_line(each), None)))
        reply = f"**{say('conversation.export.reply')}**{_model(each)}"
        parts += [
            f"## {say('conversation.export.round', number=number)}",
            f"**{say('conversation.export.query')}**",
            re.sub(r"(?<=\S)\n(?=> \S)", "  \n", quoted),
            " · ".join((reply, *notes)),
            _with_line_breaks(each.reply),
        ]
        if ending := state_line(each):
            parts.append(f"*{ending}*")
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def to_text(transcript: Transcript) -> str:
    """Return plain text: the title, then a heading, the query and the reply of each round."""
    colon = say("conversation.export.colon")
    parts = [plain_text(transcript.conversation.title)]
    for number, each in enumerate(transcript.path(), 1):
        query, reply = with_line_feeds(each.query), with_line_feeds(each.reply)
        parts += [
            f"[{say('conversation.export.round', number=number)}]",
            f"{say('conversation.export.query')}{colon}{query}",
            f"{say('conversation.export.reply')}{_model(each)}{colon}{reply}",
        ]
        notes = filter(None, (state_line(each), *reply_marks(each), note_line(each)))
        if words := " · ".join(notes):
            parts.append(f"({words})")
    return "\n\n".join(parts) + "\n"


def with_line_feeds(text: str) -> str:
    """Return text with visible control characters and all line breaks as line feeds."""
    return plain_text(text.replace("\r\n", "\n").replace("\r", "\n"))


def _model(each: Round) -> str:
    return f" ({plain_text(each.model)})" if each.model else ""


def state_line(each: Round) -> str:
    """Return how a reply ended, if not normally, and whether it is empty; "" for neither."""
    words = []
    if each.state != "done":
        words.append(say(f"conversation.export.{each.state}", error=each.error or ""))
    if each.state != "streaming" and not each.reply.strip():
        words.append(say("conversation.export.empty"))
    return plain_text(" · ".join(words))


def reply_marks(each: Round) -> list[str]:
    """Return the user's marks on a reply: edited, rated good or bad."""
    rating = {1: say("tui.round.good"), -1: say("tui.round.bad"), 0: ""}[each.rating]
    edited = say("tui.round.edited") if each.sampling.get("edited") else ""
    return [word for word in (edited, rating) if word]


def note_line(each: Round) -> str:
    """Return the user's note on a reply with its symbol; "" for none."""
    return say("tui.round.note", text=with_line_feeds(each.note)) if each.note else ""


def _with_line_breaks(text: str) -> str:
    lines = with_line_feeds(text.strip("\r\n")).split("\n")
    fence = ""
    for index, line in enumerate(lines):
        before, fence = fence, fence_after(line, fence)
        is_text = not (before or fence) and line.strip()
        if is_text and index + 1 < len(lines) and lines[index + 1].strip():
            lines[index] = line.rstrip() + "  "
    if fence:
        lines.append(fence)
    return "\n".join(lines)


def fence_after(line: str, fence: str) -> str:
    """Return the code fence that is open after a line of Markdown; "" for none.

    Args:
        fence: the fence that is open before the line.
    """
    mark = _FENCE.match(line)
    if mark is None:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line[mark.end() :].strip()
    return "" if closes else fence


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


def write_atomically(file: Path, text: str | Iterable[str]) -> None:
    """Write UTF-8 text to ``file``, or leave the file unchanged if that fails.

    Writes a temporary file in the same folder, flushes it to disk and renames it. Links are
    followed, and an existing file keeps its permissions. Pipes and devices are written directly.

    Raises:
        ChatuiError: the file cannot be written.
    """
    parts = (text,) if isinstance(text, str) else text
    try:
        target = Path(os.path.realpath(file))
        if target.exists() and not target.is_file() and not target.is_dir():
            with target.open("w", encoding="utf-8", newline="") as stream:
                stream.writelines(parts)
            return
        temporary = target.with_name(f".chatui-{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("x", encoding="utf-8", newline="") as stream:
                stream.writelines(parts)
                stream.flush()
                os.fsync(stream.fileno())
            if target.exists():
                shutil.copymode(target, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise ChatuiError(say("conversation.file_unwritable", path=file, reason=error)) from error
