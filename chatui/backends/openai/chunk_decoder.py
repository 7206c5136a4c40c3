"""Decode the bytes of a server's answer into JSON objects, one for each chunk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_DONE = "[DONE]"
_OF_A_REPLY = frozenset(("choices", "usage", "error"))
_MAX_UNPARSED_CHARACTERS = 1000


class ChunkDecoder:
    """Decodes the body of an answer into JSON objects, regardless of its content type.

    Reads server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), JSON
    Lines, and single JSON documents. Comments, empty and unknown events are skipped. The field
    ``error`` of llama.cpp and events named "error" become ``{"error": …}``.

    Attributes:
        ended: True after ``[DONE]``, the end of the stream.
        is_document: True if JSON came outside of events; then the body ends the reply.
        unparsed: the first text that is neither a field of an event nor JSON.
    """

    def __init__(self, charset: str | None = None) -> None:
        self._charset = charset
        self._rest = b""
        self._event = ""
        self._payload: list[str] = []
        self._in_document = False
        self.ended = False
        self.is_document = False
        self.unparsed = ""

    def feed(self, data: bytes, final: bool = False) -> Iterator[dict[str, Any]]:
        """Decode the next bytes, and yield the objects that are complete; ``final`` ends the body.

        Raises:
            ValueError: the data of an unnamed event is invalid JSON.
        """
        lines = (self._rest + data).splitlines(keepends=True)
        # The next bytes may begin with the line feed of a CRLF.
        held = bool(lines) and not final and not lines[-1].endswith(b"\n")
        self._rest = lines.pop() if held else b""
        for line in lines:
            if not self.ended:
                yield from self._line(decode_text(line, self._charset).rstrip("\r\n"))
        if final and not self.ended:
            yield from self._dispatch()

    def _line(self, line: str) -> Iterator[dict[str, Any]]:
        name, _, value = line.partition(":")
        self._in_document |= line.lstrip()[:1] in ("{", "[")
        if self._in_document:
            self._payload.append(line)
            if len(self._payload) == 1 or line[:1] in ("}", "]"):
                yield from self._dispatch(only_whole=True)
        elif not line:
            yield from self._dispatch()
        elif name == "data":
            self._payload.append(value)
            # The blank line after an event may be missing.
            yield from self._dispatch(only_whole=True)
        elif name == "event":
            self._event = value.strip().casefold()
        elif name == "error":
            yield {"error": parse_json(value) or value.strip()}
        elif name not in ("", "id", "retry"):
            self._keep_unparsed(line)

    def _dispatch(self, only_whole: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the objects in the lines so far; ``only_whole`` waits for the end of a value."""
        payload, event = "\n".join(self._payload).strip(), self._event
        value = parse_json(payload)
        is_done = payload.strip('"') == _DONE
        if only_whole and value is None and not is_done:
            return
        self.is_document |= self._in_document
        self._payload, self._event, self._in_document = [], "", False
        if is_done:
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


def decode_text(data: bytes, charset: str | None) -> str:
    """Decode UTF-8, the encoding of JSON and server-sent events.

    Bytes that are not UTF-8 are decoded in the ``charset`` of the content type, if there is one;
    invalid bytes become U+FFFD.
    """
    with suppress(UnicodeDecodeError):
        return data.decode("utf-8-sig")
    with suppress(LookupError):
        return data.decode(charset or "utf-8", "replace")
    return data.decode("utf-8", "replace")


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


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def as_string(value: Any) -> str:
    return value if isinstance(value, str) else ""
