"""Errors of servers and connections, each as one sentence."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from chatui.backends.openai.address import Key, proxy_of
from chatui.backends.openai.chunk_decoder import objects_in
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_MAX_MESSAGE_CHARACTERS = 200
_NO_TEMPLATE = re.compile(r"chat.?template", re.IGNORECASE)
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
_CONNECTION_ERRORS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "no_such_host"),
    (ConnectionRefusedError, "refused"),
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    (httpx2.ConnectTimeout, "connect_timeout"),
    (httpx2.TimeoutException, "slow"),
    (httpx2.ProtocolError, "no_http"),
    (httpx2.ConnectError, "unreachable"),
)
"""Exceptions among the causes of a failure, most specific first, and their sentences."""

_NEVER_TOO_LONG = frozenset((401, 402, 403, 404, 405, 408, 429))


@dataclass(frozen=True)
class RequestTarget:
    """The server and the model of a request.

    Attributes:
        url: base URL of the server.
        model: id of the model on the server.
        key: the API key; None for none.
        key_env: name of the key's environment variable in the settings.
    """

    url: str
    model: str = ""
    key: Key | None = None
    key_env: str = ""

    def hide_key(self, text: str) -> str:
        """Replace the key in ``text`` by dots."""
        return text.replace(self.key.value, "•••") if self.key else text


class NoModelListError(ChatuiError):
    """The answer of a server is not a list of models."""


class ContextExceededError(Exception):
    """The server reports that the prompt is too long; the text is its message."""


class KeyWantedError(ChatuiError):
    """The server needs a key, and none was sent.

    Attributes:
        only_for_list: True if it may give replies without a key (status 403).
    """

    only_for_list = False


def connection_error(error: BaseException, target: RequestTarget) -> ChatuiError:
    """Return the error for a connection that failed before an answer arrived."""
    causes = tuple(_causes(error))
    key = next(
        (key for kind, key in _CONNECTION_ERRORS if any(isinstance(one, kind) for one in causes)),
        "lost",
    )
    if key == "no_http" and "disconnected" in str(error.__cause__ or error):
        key = "lost"
    return ChatuiError(_with_proxy(say(f"backends.{key}", url=target.url), target))


def redirect_error(place: object, endpoint: str, target: RequestTarget) -> ChatuiError:
    """Return the error for a redirect that turned a POST into a GET."""
    base = str(place).partition("?")[0].rstrip("/").removesuffix(endpoint)
    return ChatuiError(say("backends.moved", url=target.url, place=one_line(base)))


def status_error(status: int, body: object, target: RequestTarget, wait: str = "") -> ChatuiError:
    """Return the error for a status other than 200; ``wait`` is the header Retry-After."""
    reason = server_message(body, target)
    if status in (401, 403):
        if target.key is not None:
            text = say("backends.key_refused", url=target.url, source=target.key.source)
        else:
            name = "key_wanted_in" if target.key_env else "key_wanted"
            text = say(f"backends.{name}", url=target.url, variable=target.key_env)
            wanted = KeyWantedError(with_server_message(text, reason))
            wanted.only_for_list = status == 403
            return wanted
    elif status == 404 and target.model:
        text = say("backends.no_model_there", url=target.url, model=target.model)
    elif status in (429, 503) and wait.isdecimal():
        text = say("backends.retry_after", url=target.url, status=status, seconds=wait)
    elif status == 429:
        text = say("backends.too_many_requests", url=target.url)
    elif status >= 500:
        text = say("backends.server_error", url=target.url, status=status)
        # A proxy sends these for a server that it cannot reach.
        text = _with_proxy(text, target) if status in (502, 503, 504) else text
    elif status == 400 and _NO_TEMPLATE.search(reason):
        text = say("backends.no_template", url=target.url)
    else:
        text = say("backends.rejected", url=target.url, status=status)
    return ChatuiError(with_server_message(text, reason))


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
    if error and (choice is None or _first_message(error)):
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
    return chunk if not has_reply and _first_message(chunk) else {}


def invalid_reply_error(text: str, target: RequestTarget) -> ChatuiError:
    """Return the error for an answer that is not a reply; ``text`` is its text."""
    return ChatuiError(
        with_server_message(say("backends.garbage", url=target.url), server_message(text, target))
    )


def stream_error(error: Mapping[str, Any], target: RequestTarget) -> ChatuiError:
    """Return the error for an error that the server reports within a reply."""
    reason = server_message(error, target) or str(error.get("finish_reason") or "")
    return ChatuiError(with_server_message(say("backends.broke_off", url=target.url), reason))


def server_message(body: object, target: RequestTarget = RequestTarget("")) -> str:
    """Return the message in the body of an answer, on one line; "" if there is none."""
    text = _first_message(body)
    if text.lstrip().startswith("<"):
        return ""
    return one_line(target.hide_key(text), _MAX_MESSAGE_CHARACTERS, drop_unsafe=True)


def with_server_message(sentence: str, reason: str) -> str:
    """Add the server's message to a sentence, if there is one."""
    if not reason:
        return sentence
    return say("backends.server_says", sentence=sentence.rstrip(".。"), reason=reason.rstrip("."))


def _with_proxy(sentence: str, target: RequestTarget) -> str:
    """Add the proxy to a sentence, if there is one."""
    proxy = proxy_of(target.url)
    if not proxy:
        return sentence
    return say("backends.through_proxy", sentence=sentence.rstrip(".。"), proxy=proxy)


def _first_message(body: Any, depth: int = 8) -> str:
    """Return the first message in a string, a list, or the usual fields of an object."""
    if isinstance(body, str) or depth == 0:
        return body if isinstance(body, str) else ""
    if isinstance(body, dict):
        body = [body.get(name) for name in _MESSAGE_FIELDS]
    if not isinstance(body, list):
        return ""
    return next((words for one in body if (words := _first_message(one, depth - 1))), "")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and all its causes."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__cause__, cause.__context__]
        # Only Python 3.11 has ExceptionGroup; anyio brings its own for 3.10.
        waiting += list(getattr(cause, "exceptions", ()))
