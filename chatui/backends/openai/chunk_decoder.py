"""Decode the bytes of a server's answer into JSON objects, one for each chunk."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

_LINE_END = re.compile(r"\r\n|\n|\r")
_OF_A_REPLY = frozenset(("choices", "usage", "error"))
_MAX_UNPARSED_CHARACTERS = 1000


class TextDecoder:
    """Decodes UTF-8, the encoding of JSON and server-sent events.

    After invalid UTF-8, decodes in the ``charset`` of the content type, if there is one.
    """

    def __init__(self, charset: str | None) -> None:
        self._charset = charset or ""
        self._decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8-sig")()

    def decode(self, data: bytes, final: bool = False) -> str:
        """Decode the next bytes; invalid bytes become U+FFFD."""
        try:
            return self._decoder.decode(data, final)
        except UnicodeDecodeError:
            held = self._decoder.getstate()[0]
        try:
            decoder = codecs.getincrementaldecoder(self._charset)
        except LookupError:
            decoder = codecs.getincrementaldecoder("utf-8-sig")
        self._decoder = decoder("replace")
        return self._decoder.decode(held + data, final)


class ChunkDecoder:
    """Decodes the body of an answer into JSON objects, regardless of its content type.

    Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), JSON
    Lines, and single JSON documents. Comments, empty and unknown events are skipped. The field
    ``error`` of llama.cpp and events named "error" become ``{"error": …}``.

    Attributes:
        ended: True after ``[DONE]``, the end of the stream.
        is_document: True if the answer is JSON without events, which ends with the body.
        unparsed: the first text that is neither a field of an event nor JSON.
    """

    def __init__(self, charset: str | None = None) -> None:
        self._decoder = TextDecoder(charset)
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._document = ""
        self.ended = False
        self.is_document = False
        self.unparsed = ""

    def feed(self, data: bytes, final: bool = False) -> Iterator[dict[str, Any]]:
        """Decode the next bytes, and yield the objects that are complete; ``final`` ends the body.

        Raises:
            ValueError: the data of an unnamed event is invalid JSON.
        """
        text = self._rest + self._decoder.decode(data, final)
        # The next bytes may begin with the line feed of a CRLF.
        held = "\r" if text.endswith("\r") and not final else ""
        *lines, last = _LINE_END.split(text[: len(text) - len(held)])
        self._rest = last + held
        for line in (*lines, last, "") if final else lines:
            if self.ended:
                return
            yield from self._line(line)
        if final and self._document:
            yield from self._whole_document()
            self._keep_unparsed(self._document)

    def _line(self, line: str) -> Iterator[dict[str, Any]]:
        if self._document or line.lstrip()[:1] in ("{", "["):
            is_first = not self._document
            self._document += line + "\n"
            if is_first or line[:1] in ("}", "]"):
                yield from self._whole_document()
            return
        if not line:
            yield from self._dispatch()
            return
        name, _, value = line.partition(":")
        if name == "data":
            if self._data and parse_json("\n".join(self._data)) is not None:
                # The blank line between two events is missing.
                yield from self._dispatch()
            self._data.append(value)
        elif name == "event":
            self._event = value.strip().casefold()
        elif name == "error":
            yield {"error": parse_json(value) or value.strip()}
        elif name not in ("", "id", "retry"):
            self._keep_unparsed(line)

    def _whole_document(self) -> Iterator[dict[str, Any]]:
        if self._document.strip() == _DONE:
            self._document, self.ended = "", True
            return
        value = parse_json(self._document)
        if value is not None:
            self._document, self.is_document = "", True
            yield from objects_in(value)

    def _dispatch(self) -> Iterator[dict[str, Any]]:
        payload, event = "\n".join(self._data).strip(), self._event
        self._data, self._event = [], ""
        value = parse_json(payload)
        if payload.strip('"') == _DONE:
            self.ended = True
        elif event == "error":
            has_error = isinstance(value, dict) and value.get("error")
            yield value if has_error else {"error": value or payload or True}
        elif value is not None:
            for chunk in objects_in(value):
                # Events with other names report the state of the server, such as a queue.
                if event in ("", "message") or not _OF_A_REPLY.isdisjoint(chunk):
                    yield chunk
        else:
            self._keep_unparsed(payload)
            if payload[:1] in ("{", "[") and event in ("", "message"):
                raise ValueError("the data of an event is invalid JSON")

    def _keep_unparsed(self, text: str) -> None:
        if text and len(self.unparsed) < _MAX_UNPARSED_CHARACTERS:
            self.unparsed += text[:_MAX_UNPARSED_CHARACTERS] + "\n"


_DONE = "[DONE]"


def parse_json(text: str) -> Any:
    """Parse JSON; None if it is invalid."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the object, or the objects of a list (Gemini sends errors in a list)."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            yield one
