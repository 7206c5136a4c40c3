"""A conversation to read: Markdown and plain text, from the first round to the head."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chatui.conversation.rounds import Conversation, Round
from chatui.locales import say
from chatui.text import plain_text

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def to_markdown(conversation: Conversation, rounds: Iterable[Round]) -> str:
    """Markdown: the title, and for each round the query as a quotation and the reply as it is.

    Lines of a reply stay lines (a poem is no paragraph): outside fenced code each gets the two
    blanks at its end that break a line in Markdown.
    """
    parts = [f"# {plain_text(conversation.title)}"]
    for number, this in enumerate(rounds, 1):
        quoted = "\n".join(f"> {line}".rstrip() for line in _lines(this.query))
        parts += [
            f"## {say('conversation.export.round', number=number)}",
            f"**{say('conversation.export.query')}**",
            re.sub(r"(?<=\S)\n(?=> \S)", "  \n", quoted),
            f"**{say('conversation.export.reply')}**{_model(this)}",
            _with_line_breaks(this.reply),
        ]
        if ending := _ending(this):
            parts.append(f"*{ending}*")
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def to_text(conversation: Conversation, rounds: Iterable[Round]) -> str:
    """Plain text: the title, and for each round a heading, the query and the reply."""
    parts = [plain_text(conversation.title)]
    for number, this in enumerate(rounds, 1):
        colon = say("conversation.export.colon")
        parts += [
            f"[{say('conversation.export.round', number=number)}]",
            f"{say('conversation.export.query')}{colon}" + "\n".join(_lines(this.query)),
            f"{say('conversation.export.reply')}{_model(this)}{colon}"
            + "\n".join(_lines(this.reply)),
        ]
        if ending := _ending(this):
            parts.append(f"({ending})")
    return "\n\n".join(parts) + "\n"


def _lines(text: str) -> list[str]:
    return plain_text(text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")


def _model(this: Round) -> str:
    return f" ({plain_text(this.model)})" if this.model else ""


def _ending(this: Round) -> str:
    """How the round ended unless by itself, and whether later prompts leave it out."""
    words = []
    if this.state != "done":
        words.append(say(f"conversation.export.{this.state}", error=this.error or ""))
    if this.state != "streaming" and not this.reply.strip():
        words.append(say("conversation.export.empty"))
    return plain_text(" · ".join(words))


def _with_line_breaks(text: str) -> str:
    lines = _lines(text.strip("\r\n"))
    fence = ""
    for index, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif fence:
            if mark and mark[1].startswith(fence) and not line[mark.end() :].strip():
                fence = ""
        elif line.strip() and index + 1 < len(lines) and lines[index + 1].strip():
            lines[index] = line.rstrip() + "  "
    if fence:
        lines.append(fence)
    return "\n".join(lines)
