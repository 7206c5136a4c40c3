"""Decode a server's answer into JSON objects, one for each chunk, and find the errors in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window|limit)|maximum context|n_ctx|max_model_len"
    r"|(exceed|(longer|larger|greater|more) than).{0,40}(context|max\w*.{0,12}(len(gth)?|tokens?))"
    r"|too many (input |prompt )?tokens|above_max_length|token limit|reduce the (length|prompt)"
    r"|(prompt|input|request|(?<!stop )sequence|message)s?\b.{0,40}(too (long|large)|exceed)"
    r"|range of input length|inputs`? (tokens|must have less than)"
    r"|(最大|最长)上下文|上下文.{0,16}(长度|窗口|超|过长|太长|限)"
    r"|(输入|提示词?|文本|内容|请求|消息|序列|对话|prompt|input).{0,12}(过长|太长|超长|长度)"
    r"|(长度|上下文|字数|tokens?).{0,12}(超|大于)"
    r"|(超过|超出|大于).{0,16}(长度|上下文|tokens?)",
    re.IGNORECASE | re.DOTALL,
)
_ANOTHER_LIMIT = re.compile(
    r"rate.?limit|per (second|minute|hour|day)|quota|每(秒|分钟|小时|天|日)|频|并发"
    r"|^(?!.*(context|input|prompt|上下文|输入)).*max_\w*tokens",
    re.IGNORECASE | re.DOTALL,
)
# OpenRouter, Zhipu, DeepSeek.
_BROKEN_OFF = ("error", "network_error", "insufficient_system_resource")
# The last ones are those of Baidu, MiniMax, and errors that have only a code.
_MESSAGE_FIELDS = (
    *("error", "errors", "message", "detail", "msg", "error_msg", "base_resp", "status_msg"),
    *("title", "reason", "code"),
)
_NEVER_TOO_LONG = frozenset((401, 402, 403, 404, 405, 408, 429))
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


class ContextExceededError(Exception):
    """The server reports that the prompt is too long; the text is its message."""


def exceeds_context(status: int, reason: str) -> bool:
    """True if the message says, in English or Chinese, that the prompt exceeds the context."""
    if status in _NEVER_TOO_LONG or _ANOTHER_LIMIT.search(reason):
        return False
    return status == 413 or bool(_TOO_LONG.search(reason))


def error_in(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """Return the object in a chunk that reports an error, or None.

    Errors are ``{"error": …}`` (OpenAI, vLLM, llama.cpp), ``{"object": "error", …}`` (older vLLM,
    FastChat), or part of the choice (OpenRouter). An empty error beside a choice is ignored.
    """
    choice = next(objects_in(chunk.get("choices")), None)
    error = chunk.get("error") or chunk.get("errors")
    if error and (choice is None or first_message(error)):
        return chunk
    if "error" in (chunk.get("object"), chunk.get("type")):
        return chunk
    if choice and (choice.get("error") or choice.get("finish_reason") in _BROKEN_OFF):
        return choice
    return None


def notice_in(chunk: dict[str, Any]) -> dict[str, Any]:
    """Return a chunk that has a message and no part of a reply, else {}.

    It is an error if no reply follows (``{"detail": …}`` of FastAPI, ``{"code": …, "message": …}``
    of DashScope), and a notice otherwise.
    """
    has_reply = chunk.get("choices") or chunk.get("usage")
    return chunk if not has_reply and first_message(chunk) else {}


def first_message(body: Any, depth: int = 8) -> str:
    """Return the first message in a string, a list, or the usual fields of an object."""
    if isinstance(body, str) or depth == 0:
        return body if isinstance(body, str) else ""
    if isinstance(body, dict):
        body = [body.get(name) for name in _MESSAGE_FIELDS]
    if not isinstance(body, list):
        return ""
    return next((words for one in body if (words := first_message(one, depth - 1))), "")
