"""Read the JSON values of a file one by one: JSON Lines, an array, or an object.

A value that cannot be read becomes an :class:`UnreadableRecord`. Reading then continues with the
next line of JSON Lines, or with the next element of an array that begins a line as the first did.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from chatui.errors import ChatuiError
from chatui.locales import say

_BUFFER_BYTES = 1 << 20
_CHUNK_CHARACTERS = 1 << 19
_LONGEST_CUT_TOKEN = 12
"""Characters in which the longest token besides strings fits: an escape, -Infinity."""

_JSON_SPACE = re.compile(r"[ \t\r\n]*")
_KEY = re.compile(r'\{[ \t\r\n]*"[^"\\]{0,60}"')
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class UnreadableRecord:
    """A value that could not be read.

    Attributes:
        line: the line where it begins, from 1.
        reason: why, as a part of a sentence.
        is_torn: True for a last line without a line break, as an interrupted write leaves it.
    """

    line: int
    reason: str
    is_torn: bool = False


Record: TypeAlias = "tuple[int, Any] | UnreadableRecord"
"""The line where a value begins, and the value."""


@contextmanager
def opened(file: Path | bytes, name: str = "") -> Iterator[io.BufferedReader[Any]]:
    """Open a file, or the bytes of one, for :class:`JsonRecords`.

    Raises:
        ChatuiError: the file cannot be opened or read; the message has ``name`` or its path.
    """
    try:
        try:
            raw: Any = io.BytesIO(file) if isinstance(file, bytes) else io.FileIO(file)
        except ValueError as error:
            raise OSError(error) from error
        with io.BufferedReader(raw, _BUFFER_BYTES) as stream:
            yield stream
    except OSError as error:
        words = say("conversation.file_unreadable", path=name or file, reason=error)
        raise ChatuiError(words) from error


@dataclass
class JsonRecords:
    """The records of one file.

    Attributes:
        stream: the file, from :func:`opened`.
        encoding: None for UTF-8, or UTF-16 with a byte order mark.
        parse_constant: as for ``json.loads``: called with "NaN", "Infinity" or "-Infinity"; may
            raise ValueError.
        is_array: True if the file is one array; set before the first record is returned.
    """

    stream: io.BufferedReader[Any]
    encoding: str | None = None
    parse_constant: Callable[[str], Any] | None = None
    is_array: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in order."""
        head = self.stream.peek(_BUFFER_BYTES)
        encoding = self.encoding or ("utf-16" if head.startswith(UTF_16_MARKS) else "utf-8")
        if codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        start = decoder.decode(head).lstrip("\ufeff \t\r\n")
        if encoding == "utf-8-sig" and not _is_one_value(start):
            if head.startswith(codecs.BOM_UTF8):
                self.stream.read(len(codecs.BOM_UTF8))
            yield from _lines(self.stream, self.parse_constant)
            return
        # Bytes invalid in the encoding become lone surrogates.
        text = io.TextIOWrapper(self.stream, encoding, errors="surrogateescape", newline="\n")
        if _is_one_value(start):
            self.is_array = start.startswith("[")
            yield from _decodable(_values(text, self.parse_constant))
        else:
            utf_8 = (line.encode("utf-8", "surrogateescape") for line in text)
            yield from _decodable(_lines(utf_8, self.parse_constant))


def _decodable(records: Iterator[Record]) -> Iterator[Record]:
    """Yield the records up to bytes that cannot be decoded at all, as in a cut UTF-16 file."""
    line = 0
    try:
        for record in records:
            line = record.line if isinstance(record, UnreadableRecord) else record[0]
            yield record
    except UnicodeDecodeError as error:
        is_cut_off = error.reason in ("truncated data", "unexpected end of data")
        yield UnreadableRecord(line + 1, _reason(error), is_cut_off)


def _is_one_value(start: str) -> bool:
    """True if a file with this start is one value over several lines, or one array."""
    first, _, rest = start.partition("\n")
    if not start.startswith("["):
        return first.rstrip() == "{"
    if rest.strip():
        with suppress(ValueError, RecursionError):
            json.loads(first)
            return False
    return True


def _lines(lines: Iterable[bytes], parse_constant: Callable[[str], Any] | None) -> Iterator[Record]:
    """Yield the records of JSON Lines in UTF-8."""
    decode = msgspec.json.Decoder().decode
    for number, line in enumerate(lines, 1):
        try:
            yield number, decode(line)
        except (ValueError, RecursionError):
            if line.isspace():
                continue
            # Python's decoder also accepts, for example, lone surrogates and NaN.
            try:
                yield number, json.loads(line.decode(), parse_constant=parse_constant)
            except (ValueError, RecursionError) as error:
                yield UnreadableRecord(number, _reason(error), not line.endswith(b"\n"))


@dataclass
class _TextWindow:
    """The part of a stream that is held in memory, and the position in it.

    Attributes:
        text: the text held.
        position: index in ``text`` of the next character to be parsed.
    """

    stream: io.TextIOBase
    text: str = ""
    position: int = 0
    _line: int = 1
    _counted: int = 0

    def read_more(self) -> bool:
        """Drop the parsed text and read a chunk; return False at the end of the stream."""
        self.line()
        left = self.text[self.position :]
        # A chunk is at least as long as the text that is left, so that a long value is read in few.
        chunk = self.stream.read(max(_CHUNK_CHARACTERS, len(left)))
        self.text = left + chunk
        self.position = self._counted = 0
        return bool(chunk)

    def line(self) -> int:
        """Return the line number of the position, from 1."""
        # Without a line break, find() is much faster than count().
        if self.text.find("\n", self._counted, self.position) >= 0:
            self._line += self.text.count("\n", self._counted, self.position)
        self._counted = self.position
        return self._line

    def next_character(self) -> str:
        """Skip JSON white space and return the character after it; "" at the end."""
        while True:
            found = _JSON_SPACE.match(self.text, self.position)
            self.position = found.end() if found else self.position
            if self.position < len(self.text):
                return self.text[self.position]
            if not self.read_more():
                return ""


def _values(stream: io.TextIOBase, parse_constant: Callable[[str], Any] | None) -> Iterator[Record]:
    """Yield the elements of an array, or values that follow each other."""
    window = _TextWindow(stream)
    decode = json.JSONDecoder(parse_constant=parse_constant).raw_decode
    if window.next_character() == "[":
        window.position += 1
    start = tried = None
    while character := window.next_character():
        if character in ",]":
            window.position += 1
            continue
        line = window.line()
        if start is None:
            start = _beginning(window)
        if start and tried is not window.text:
            tried = window.text
            if several := _decode_several(window, start):
                yield from several
                continue
        try:
            value, end = decode(window.text, window.position)
        except (ValueError, RecursionError) as error:
            if _is_cut_off(error, window) and window.read_more():
                continue
            yield UnreadableRecord(line, _reason(error))
            if not start.startswith("\n") or not _skip_to(window, start):
                return
            continue
        try:
            window.text[window.position : end].encode()
        except UnicodeEncodeError:
            yield UnreadableRecord(line, say("dataset.no_utf8"))
        else:
            yield line, value
        window.position = end


def _beginning(window: _TextWindow) -> str:
    """Return the text with which this element and the next ones begin; "" if that is not known.

    It is the indentation and first character of an element on a line of its own, or the first key.
    """
    line_break = window.text.rfind("\n", 0, window.position)
    before = window.text[max(line_break, 0) : window.position]
    if line_break >= 0 and before.isspace():
        return before + window.text[window.position]
    key = _KEY.match(window.text, window.position)
    return key[0] if key else ""


def _decode_several(window: _TextWindow, start: str) -> list[tuple[int, Any]]:
    """Decode all elements held except the last, which may be cut; return [] if one is invalid.

    msgspec decodes them three times as fast together as Python does one by one.

    Args:
        start: the text with which an element begins; it may also occur within elements.
    """
    end = window.text.rfind(start, window.position + 1)
    held = window.text[window.position : max(end, window.position)].rstrip(" \t\r\n")
    is_indented = start.startswith("\n")
    if not held.endswith(",") or (not is_indented and "\n" in held):
        return []
    try:
        values = msgspec.json.decode(f"[{held[:-1]}]")
    except (ValueError, RecursionError):
        return []
    lines = [window.line()] * len(values)
    if is_indented:
        before = held.split(start)[:-1]
        if len(before) != len(values) - 1 or len(set(map(type, values))) > 1:
            return []
        lines = list(accumulate((part.count("\n") + 1 for part in before), initial=lines[0]))
    window.position = end
    return list(zip(lines, values, strict=True))


def _skip_to(window: _TextWindow, indent: str) -> bool:
    """Move to the next element that begins with ``indent``; return False if there is none."""
    window.position += 1
    while (found := window.text.find(indent, window.position)) < 0:
        # It may be cut by the end of the window.
        window.position = max(window.position, len(window.text) - len(indent))
        if not window.read_more():
            return False
    window.position = found + len(indent) - 1
    return True


def _is_cut_off(error: Exception, window: _TextWindow) -> bool:
    """True if a value may be invalid only because the window ends within it."""
    return isinstance(error, json.JSONDecodeError) and (
        error.msg.startswith("Unterminated") or error.pos >= len(window.text) - _LONGEST_CUT_TOKEN
    )


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return say("dataset.no_utf8")
    words = getattr(error, "msg", "") or str(error) or type(error).__name__
    return say("dataset.no_json", reason=words)
