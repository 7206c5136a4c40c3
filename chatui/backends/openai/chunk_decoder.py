"""From the bytes of a server's answer to JSON objects, one a chunk."""

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
    """Decodes bytes that should be UTF-8, as JSON and server-sent events always are.

    Bytes that are not are decoded in the ``charset`` of the content type, if there is one.
    """

    def __init__(self, charset: str | None) -> None:
        self._charset = charset or ""
        self._decoder: codecs.IncrementalDecoder = codecs.getincrementaldecoder("utf-8-sig")()

    def decode(self, data: bytes, final: bool = False) -> str:
        """The text of the next ``data``; what cannot be decoded becomes U+FFFD."""
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
    """Decodes the body of an answer into JSON objects, whatever its content type says.

    Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), one
    JSON object a line, and one JSON document. Comments, empty and unknown events are skipped. The
    field ``error`` of llama.cpp and events called "error" become ``{"error": …}``.

    Attributes:
        ended: the server sent ``[DONE]``: nothing follows.
        is_document: the answer is JSON without events, so its end is the reply's.
        unparsed: the first text that is neither an event's field nor JSON.
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
        """The objects that ``data`` completes; ``final`` ends the body.

        Raises:
            ValueError: the data of an unnamed event is broken JSON.
        """
        text = self._rest + self._decoder.decode(data, final)
        # A line feed may follow in the next bytes.
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
                # The blank line between two events was left out.
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
                # Events of other names tell of the server's state, such as a queue.
                if event in ("", "message") or not _OF_A_REPLY.isdisjoint(chunk):
                    yield chunk
        else:
            self._keep_unparsed(payload)
            if payload[:1] in ("{", "[") and event in ("", "message"):
                raise ValueError("the data of an event is broken JSON")

    def _keep_unparsed(self, text: str) -> None:
        if text and len(self.unparsed) < _MAX_UNPARSED_CHARACTERS:
            self.unparsed += text[:_MAX_UNPARSED_CHARACTERS] + "\n"


_DONE = "[DONE]"


def parse_json(text: str) -> Any:
    """The JSON value, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """The object, or those in a list (Gemini's servers put an error into one)."""
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            yield one
