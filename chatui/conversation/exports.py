"""A conversation as Markdown and plain text, and writing a text file wholly or not at all."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterable
from pathlib import Path

from chatui.conversation.rounds import Conversation, Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line, plain_text

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


def to_markdown(conversation: Conversation, rounds: Iterable[Round]) -> str:
    """Markdown: the title, and for each round the query as a quotation and the reply as it is.

    Lines of a reply stay lines (a poem is no paragraph): outside fenced code each gets the two
    blanks at its end that break a line in Markdown.
    """
    parts = [f"# {plain_text(conversation.title)}"]
    for number, each in enumerate(rounds, 1):
        quoted = "\n".join(f"> {line}".rstrip() for line in _lines(each.query))
        parts += [
            f"## {say('conversation.export.round', number=number)}",
            f"**{say('conversation.export.query')}**",
            re.sub(r"(?<=\S)\n(?=> \S)", "  \n", quoted),
            " · ".join(
                (
                    f"**{say('conversation.export.reply')}**{_model(each)}",
                    *marks_of(each),
                    *filter(None, [one_line(note_of(each), None)]),
                )
            ),
            _with_line_breaks(each.reply),
        ]
        if ending := ending_of(each):
            parts.append(f"*{ending}*")
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def to_text(conversation: Conversation, rounds: Iterable[Round]) -> str:
    """Plain text: the title, and for each round a heading, the query and the reply."""
    parts = [plain_text(conversation.title)]
    for number, each in enumerate(rounds, 1):
        colon = say("conversation.export.colon")
        parts += [
            f"[{say('conversation.export.round', number=number)}]",
            f"{say('conversation.export.query')}{colon}" + "\n".join(_lines(each.query)),
            f"{say('conversation.export.reply')}{_model(each)}{colon}"
            + "\n".join(_lines(each.reply)),
        ]
        if words := " · ".join(filter(None, (ending_of(each), *marks_of(each), note_of(each)))):
            parts.append(f"({words})")
    return "\n\n".join(parts) + "\n"


def _lines(text: str) -> list[str]:
    return plain_text(text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")


def _model(each: Round) -> str:
    return f" ({plain_text(each.model)})" if each.model else ""


def ending_of(each: Round) -> str:
    """How the round ended unless by itself, and whether later prompts leave it out."""
    words = []
    if each.state != "done":
        words.append(say(f"conversation.export.{each.state}", error=each.error or ""))
    if each.state != "streaming" and not each.reply.strip():
        words.append(say("conversation.export.empty"))
    return plain_text(" · ".join(words))


def marks_of(each: Round) -> list[str]:
    """What the user made of the reply, in a few words each: edited, rated good or bad."""
    rating = {1: say("tui.round.good"), -1: say("tui.round.bad"), 0: ""}[each.rating]
    edited = say("tui.round.edited") if each.sampling.get("edited") else ""
    return [word for word in (edited, rating) if word]


def note_of(each: Round) -> str:
    """The user's note on the reply, with its sign; "" for none."""
    return say("tui.round.note", text="\n".join(_lines(each.note))) if each.note else ""


def _with_line_breaks(text: str) -> str:
    lines = _lines(text.strip("\r\n"))
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
    """The fence of code that is open behind a line of Markdown; "" for none."""
    mark = _FENCE.match(line)
    if mark is None:
        return fence
    if not fence:
        return mark[1]
    closes = mark[1].startswith(fence) and not line[mark.end() :].strip()
    return "" if closes else fence


def write_whole(file: Path, text: str | Iterable[str]) -> None:
    """Write UTF-8 text so that ``file`` holds either all of it or what it held before.

    The text goes into a temporary file beside it, is flushed to the disk and takes the name. A
    link is followed; what is no regular file (a pipe, a device) is written directly.

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
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary = target.with_name(f".chatui-{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("x", encoding="utf-8", newline="") as stream:
                stream.writelines(parts)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except (OSError, ValueError) as error:
        raise ChatuiError(say("conversation.file_unwritable", path=file, reason=error)) from error


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
