"""Text files in a query: ``@notes.md`` inserts the content of the file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.locations import expanded
from chatui.readable import size
from chatui.text import one_line

MAX_BYTES = 1 << 20
_MENTION = re.compile(r'(?<![A-Za-z0-9_@/.])@(?:"([^"\n]+)"|(\S+))')
_MARKS = re.compile("[，。；：！？、）》,;:!?)]")
_ENCODINGS = ("utf-8-sig", "gb18030")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def read_query_file(name: str) -> tuple[str, int]:
    """Read a text file.

    Args:
        name: the path as typed.

    Returns:
        The text to insert (the name, and the content in a code fence), and the number of characters
        of the content.

    Raises:
        ChatuiError: the path is a folder or a device, or the file is too long, not text, or
            unreadable.
    """
    path, shown = expanded(name), one_line(name, 100)
    try:
        if path.is_dir():
            raise ChatuiError(say("tui.file.folder", name=shown))
        if path.exists() and not path.is_file():
            raise ChatuiError(say("tui.file.device", name=shown))
        length = path.stat().st_size
        if length > MAX_BYTES:
            raise ChatuiError(
                say("tui.file.too_long", name=shown, size=size(length), most=size(MAX_BYTES))
            )
        with path.open("rb") as stream:
            # Files of /proc have length 0, and some never end.
            data = stream.read(MAX_BYTES + 1)[:MAX_BYTES]
    except (OSError, ValueError) as error:
        raise ChatuiError(say("tui.file.unreadable", name=shown, reason=error)) from error
    text = _text_of(data, shown)
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`{3,}", text)), default=2))
    return f"{name}\n{fence}\n{text.rstrip()}\n{fence}\n", len(text)


def _text_of(data: bytes, shown: str) -> str:
    encodings = ("utf-16",) if data.startswith(_UTF_16) else _ENCODINGS
    if b"\0" not in data or encodings == ("utf-16",):
        for encoding in encodings:
            try:
                return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
            except UnicodeError:
                continue
    raise ChatuiError(say("tui.file.binary", name=shown))


def find_mentions(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, name) of each ``@name`` that is an existing path."""
    for match in _MENTION.finditer(text):
        if match[1]:
            names = [match[1]]
        else:
            # Punctuation may end the name, as in 看@a.txt，总结.
            ends = [mark.start() for mark in _MARKS.finditer(match[2])]
            names = [match[2], *(match[2][:end] for end in reversed(ends))]
        for name in filter(None, names):
            if _exists(name):
                end = match.end() if match[1] else match.start(2) + len(name)
                yield match.start(), end, name
                break


def _exists(name: str) -> bool:
    try:
        return len(name) < 4096 and expanded(name).exists()
    except (OSError, ValueError):
        return False


def complete_path(name: str) -> str:
    """Extend a path by the characters that all matching files share; a folder ends with a slash."""
    head, slash, start = name.rpartition("/")
    try:
        with os.scandir(expanded(head + slash) if slash else ".") as entries:
            found = [
                entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(start) and (start or not entry.name.startswith("."))
            ]
    except (OSError, ValueError):
        return name
    prefix = os.path.commonprefix(found)  # noqa: RUF071  # by character
    return head + slash + prefix if found else name


def insert_files(text: str) -> tuple[str, tuple[str, ...]]:
    """Replace each ``@name`` in a query by the content of the file.

    Returns:
        The query, and a sentence about the size of each file.

    Raises:
        ChatuiError: as :func:`read_query_file`.
    """
    parts: list[str] = []
    sentences: list[str] = []
    at = 0
    for start, end, name in find_mentions(text):
        inserted, count = read_query_file(name)
        parts += [text[at:start], "\n" if text[at:start].strip(" ") else "", inserted]
        sentences.append(say("tui.file.taken", name=one_line(name, 100), count=f"{count:,}"))
        at = end
    return "".join(parts) + text[at:].lstrip(" " if at else ""), tuple(sentences)
