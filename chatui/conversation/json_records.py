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
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias, cast

import msgspec

from chatui.conversation.text_window import TextWindow
from chatui.errors import ChatuiError
from chatui.locales import say

_PEEKED_BYTES = 1 << 20
_LONGEST_CUT_TOKEN = 12
"""Characters in which the longest token besides strings fits: an escape, -Infinity."""

_KEY = re.compile(r'\{[ \t\r\n]*"[^"\\]{0,60}"')
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


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


class JsonRecords:
    """The records of one file.

    Attributes:
        is_array: True if the file is one array; set before the first record is returned.
    """

    def __init__(
        self,
        file: Path | bytes,
        encoding: str | None = None,
        parse_constant: Callable[[str], Any] | None = None,
    ) -> None:
        """Read ``file``, a path or the bytes of a file.

        Args:
            encoding: None for UTF-8, or UTF-16 with a byte order mark.
            parse_constant: as for ``json.loads``: called with "NaN", "Infinity" or "-Infinity";
                may raise ValueError.
        """
        self._file = file
        self._encoding = encoding
        self._parse_constant = parse_constant
        self._stream: io.RawIOBase | None = None
        self._done_bytes = 0
        self.is_array = False

    @property
    def done_bytes(self) -> int:
        """Bytes read so far."""
        if self._stream is not None and not self._stream.closed:
            self._done_bytes = self._stream.tell()
        return self._done_bytes

    def __iter__(self) -> Iterator[Record]:
        """Yield the records in order.

        Raises:
            ChatuiError: the file cannot be opened or read.
        """
        try:
            with io.BufferedReader(self._opened(), _PEEKED_BYTES) as stream:
                self._stream = stream.raw
                yield from self._records(stream)
        except OSError as error:
            raise self._unreadable(error) from error

    def _opened(self) -> io.RawIOBase:
        if isinstance(self._file, bytes):
            return cast("io.RawIOBase", io.BytesIO(self._file))
        try:
            return io.FileIO(self._file)
        except ValueError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> ChatuiError:
        return ChatuiError(say("conversation.file_unreadable", path=self._file, reason=error))

    def _records(self, stream: Any) -> Iterator[Record]:
        head = stream.peek(_PEEKED_BYTES)
        encoding = self._encoding or ("utf-16" if head.startswith(_UTF_16) else "utf-8")
        if codecs.lookup(encoding).name == "utf-8":
            encoding = "utf-8-sig"
        text = (
            codecs.getincrementaldecoder(encoding)("replace").decode(head).lstrip("\ufeff \t\r\n")
        )
        if _is_one_value(text):
            self.is_array = text.startswith("[")
            yield from _decodable(_values(_reader(stream, encoding), self._parse_constant))
        elif encoding == "utf-8-sig":
            if head.startswith(codecs.BOM_UTF8):
                stream.read(len(codecs.BOM_UTF8))
            yield from _lines(stream, self._parse_constant)
        else:
            lines = _reader(stream, encoding)
            utf_8 = (line.encode("utf-8", "surrogateescape") for line in lines)
            yield from _decodable(_lines(utf_8, self._parse_constant))


def _reader(stream: Any, encoding: str) -> io.TextIOWrapper:
    """Decode ``stream``; bytes invalid in the encoding become lone surrogates."""
    return io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="\n")


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
    first, is_line, rest = start.partition("\n")
    if first.rstrip() in ("{", "["):
        return True
    if not start.startswith("["):
        return False
    if not is_line or not rest.strip():
        return True
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True
    return False


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


def _values(stream: io.TextIOBase, parse_constant: Callable[[str], Any] | None) -> Iterator[Record]:
    """Yield the elements of an array, or values that follow each other."""
    window = TextWindow(stream)
    decode = json.JSONDecoder(parse_constant=parse_constant).raw_decode
    if window.next_character() == "[":
        window.position += 1
    indent = start = tried = None
    while character := window.next_character():
        if character in ",]":
            window.position += 1
            continue
        line = window.line()
        if indent is None or start is None:
            indent = _indent(window)
            key = _KEY.match(window.text, window.position)
            start = indent or (key[0] if key else "")
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
            if not indent or not _skip_to(window, indent):
                return
            continue
        try:
            window.text[window.position : end].encode()
        except UnicodeEncodeError:
            yield UnreadableRecord(line, say("dataset.no_utf8"))
        else:
            yield line, value
        window.position = end


def _decode_several(window: TextWindow, start: str) -> list[tuple[int, Any]]:
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


def _indent(window: TextWindow) -> str:
    """Return the line break, white space and first character of an element that begins a line.

    Other elements give "".
    """
    start = window.text.rfind("\n", 0, window.position)
    before = window.text[start : window.position] if start >= 0 else ""
    return before + window.text[window.position] if before and before.isspace() else ""


def _skip_to(window: TextWindow, indent: str) -> bool:
    """Move to the next element that begins with ``indent``; return False if there is none."""
    window.position += 1
    while (found := window.text.find(indent, window.position)) < 0:
        # It may be cut by the end of the window.
        window.position = max(window.position, len(window.text) - len(indent))
        if not window.read_more():
            return False
    window.position = found + len(indent) - 1
    return True


def _is_cut_off(error: Exception, window: TextWindow) -> bool:
    """True if a value may be invalid only because the window ends within it."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    near_end = error.pos >= len(window.text) - _LONGEST_CUT_TOKEN
    return near_end or error.msg.startswith("Unterminated")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return say("dataset.no_utf8")
    if isinstance(error, json.JSONDecodeError):
        return say("dataset.no_json", reason=error.msg)
    return say("dataset.no_json", reason=str(error) or type(error).__name__)
