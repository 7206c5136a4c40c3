"""Find the errors in servers' answers."""

from __future__ import annotations

import re
from typing import Any

from chatui.backends.openai.chunk_decoder import objects_in

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
