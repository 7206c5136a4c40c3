"""JSON values of a file one after the other: JSON Lines, one array, one object; never all at once.

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

from chatui.errors import ChatuiError
from chatui.locales import say

_PEEKED_BYTES = 1 << 20
_CHUNK_CHARACTERS = 1 << 19
_LONGEST_CUT_TOKEN = 12
"""Characters of the longest token beside strings that an end can cut: an escape, -Infinity."""

_BLANK = re.compile(r"[ \t\r\n]*")
_KEY = re.compile(r'\{[ \t\r\n]*"[^"\\]{0,60}"')
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class UnreadableRecord:
    """What could not be read.

    Attributes:
        line: where it begins, from 1.
        reason: why, as a part of a sentence.
        is_torn: whether it is a last line without a line break.
    """

    line: int
    reason: str
    is_torn: bool = False


Record: TypeAlias = "tuple[int, Any] | UnreadableRecord"
"""The line where a value begins, and the value."""


class JsonRecords:
    """The records of one file.

    Attributes:
        is_array: whether the file holds one array; known from the first record on.
    """

    def __init__(
        self,
        file: Path | bytes,
        encoding: str | None = None,
        parse_constant: Callable[[str], Any] | None = None,
    ) -> None:
        """Read ``file``, or what stands in one.

        Args:
            encoding: None for UTF-8, or UTF-16 with a byte order mark.
            parse_constant: makes a value of NaN and infinities, or raises ValueError; None takes
                them as Python does.
        """
        self._file = file
        self._encoding = encoding
        self._parse_constant = parse_constant
        self._stream: io.RawIOBase | None = None
        self._done_bytes = 0
        self.is_array = False

    @property
    def done_bytes(self) -> int:
        """How far reading is, for a progress."""
        if self._stream is not None and not self._stream.closed:
            self._done_bytes = self._stream.tell()
        return self._done_bytes

    def __iter__(self) -> Iterator[Record]:
        """The records in their order.

        Raises:
            ChatuiError: the file cannot be read at all.
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
    """The text of ``stream``, with what is not of the encoding as lone surrogates."""
    return io.TextIOWrapper(stream, encoding, errors="surrogateescape", newline="\n")


def _decodable(records: Iterator[Record]) -> Iterator[Record]:
    """The records up to where the bytes are no text at all, which UTF-16 may be."""
    line = 0
    try:
        for record in records:
            line = record.line if isinstance(record, UnreadableRecord) else record[0]
            yield record
    except UnicodeDecodeError as error:
        is_cut_off = error.reason in ("truncated data", "unexpected end of data")
        yield UnreadableRecord(line + 1, _reason(error), is_cut_off)


def _is_one_value(start: str) -> bool:
    """Whether a file that starts so is one value over several lines, or one array."""
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
    """The records of JSON Lines, each line as UTF-8."""
    decode = msgspec.json.Decoder().decode
    for number, line in enumerate(lines, 1):
        try:
            yield number, decode(line)
        except (ValueError, RecursionError):
            if line.isspace():
                continue
            # Python's own reader takes what msgspec does not, lone surrogates among it.
            try:
                yield number, json.loads(line.decode(), parse_constant=parse_constant)
            except (ValueError, RecursionError) as error:
                yield UnreadableRecord(number, _reason(error), not line.endswith(b"\n"))


class _Text:
    """The part of a file's text that is being read.

    Attributes:
        held: what is held of it.
        at: how much of that is read.
        line: the line in which ``at`` lies.
    """

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._counted = 0
        self.held = ""
        self.at = 0
        self.line = 1

    def more(self) -> bool:
        """Hold more, twice as much if need be; False at the file's end."""
        self.here()
        new = self._stream.read(max(_CHUNK_CHARACTERS, len(self.held) - self.at))
        self.held = self.held[self.at :] + new
        self.at = self._counted = 0
        return bool(new)

    def here(self) -> int:
        """The line of ``at``."""
        # Far faster than counting where there is none.
        if self.held.find("\n", self._counted, self.at) >= 0:
            self.line += self.held.count("\n", self._counted, self.at)
        self._counted = self.at
        return self.line

    def next_character(self) -> str:
        """The next character that is not blank; "" at the file's end."""
        while True:
            found = _BLANK.match(self.held, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.held):
                return self.held[self.at]
            if not self.more():
                return ""


def _values(stream: io.TextIOBase, parse_constant: Callable[[str], Any] | None) -> Iterator[Record]:
    """The elements of an array, or the values that follow each other."""
    text = _Text(stream)
    decode = json.JSONDecoder(parse_constant=parse_constant).raw_decode
    if text.next_character() == "[":
        text.at += 1
    margin = mark = tried = None
    while character := text.next_character():
        if character in ",]":
            text.at += 1
            continue
        line = text.here()
        if margin is None or mark is None:
            margin = _margin(text)
            key = _KEY.match(text.held, text.at)
            mark = margin or (key[0] if key else "")
        if mark and tried is not text.held:
            tried = text.held
            several = _several(text, mark)
            if several:
                yield from several
                continue
        try:
            value, end = decode(text.held, text.at)
        except (ValueError, RecursionError) as error:
            if _is_cut_off(error, text) and text.more():
                continue
            yield UnreadableRecord(line, _reason(error))
            if not margin or not _go_to(text, margin):
                return
            continue
        try:
            text.held[text.at : end].encode()
        except UnicodeEncodeError:
            yield UnreadableRecord(line, say("dataset.no_utf8"))
        else:
            yield line, value
        text.at = end


def _several(text: _Text, mark: str) -> list[tuple[int, Any]]:
    """The elements up to the last one that is held, whose end may not be; [] if one is at fault.

    They are read at once, by msgspec, three times as fast as one by one.

    Args:
        mark: with which an element begins, unless another part of the text does too.
    """
    end = text.held.rfind(mark, text.at + 1)
    held = text.held[text.at : max(end, text.at)].rstrip(" \t\r\n")
    has_margin = mark.startswith("\n")
    if not held.endswith(",") or (not has_margin and "\n" in held):
        return []
    try:
        values = msgspec.json.decode(f"[{held[:-1]}]")
    except (ValueError, RecursionError):
        return []
    lines = [text.here()] * len(values)
    if has_margin:
        before = held.split(mark)[:-1]
        if len(before) != len(values) - 1 or len(set(map(type, values))) > 1:
            return []
        lines = list(accumulate((part.count("\n") + 1 for part in before), initial=lines[0]))
    text.at = end
    return list(zip(lines, values, strict=True))


def _margin(text: _Text) -> str:
    """The line break, the blanks and the character with which an element begins; "" without."""
    start = text.held.rfind("\n", 0, text.at)
    before = text.held[start : text.at] if start >= 0 else ""
    return before + text.held[text.at] if before and before.isspace() else ""


def _go_to(text: _Text, margin: str) -> bool:
    """Go to the next element that begins as the first one; False if there is none."""
    text.at += 1
    while (found := text.held.find(margin, text.at)) < 0:
        # The mark may lie across the border.
        text.at = max(text.at, len(text.held) - len(margin))
        if not text.more():
            return False
    text.at = found + len(margin) - 1
    return True


def _is_cut_off(error: Exception, text: _Text) -> bool:
    """Whether a value that is no JSON would be, if more of the text were there."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    near_end = error.pos >= len(text.held) - _LONGEST_CUT_TOKEN
    return near_end or error.msg.startswith("Unterminated")


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeError):
        return say("dataset.no_utf8")
    if isinstance(error, json.JSONDecodeError):
        return say("dataset.no_json", reason=error.msg)
    return say("dataset.no_json", reason=str(error) or type(error).__name__)
