"""What goes wrong between here and a server, each as one sentence."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from chatui.backends.openai.address import Key, proxy_of
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_LONGEST_REASON = 200
_NO_TEMPLATE = re.compile(r"chat.?template", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window|limit)|maximum context|n_ctx|max_model_len"
    r"|(exceed|(longer|larger|greater|more) than).{0,40}(context|max\w*.{0,12}(len(gth)?|tokens?))"
    r"|too many (input |prompt )?tokens"
    r"|(prompt|input|request|sequence|message)s?\b.{0,40}(too (long|large)|exceed)"
    r"|上下文.{0,16}(长度|窗口|超|过长|太长|限)|(超过|超出|大于|超)了?.{0,16}(长度|上下文|限制|上限|最大)"
    r"|(输入|提示词?|文本|内容|请求|消息|序列|对话).{0,12}(过长|太长|超长)",
    re.IGNORECASE | re.DOTALL,
)
# OpenRouter, Zhipu, DeepSeek.
_BROKEN_OFF = ("error", "network_error", "insufficient_system_resource")
_NEVER_TOO_LONG = frozenset((401, 402, 403, 404, 405, 408, 429))


@dataclass(frozen=True)
class Target:
    """The server and the model that a request goes to.

    Attributes:
        url: the base URL.
        model: the model's id on the server.
        key: the API key that was sent, None for none.
        key_env: the environment variable that the settings name for the key.
    """

    url: str
    model: str = ""
    key: Key | None = None
    key_env: str = ""

    def hide_key(self, text: str) -> str:
        return self.key.hide_in(text) if self.key else text


class NoModelListError(ChatuiError):
    """The server answers, but not with a list of models."""


class ContextExceededError(Exception):
    """The server says that the prompt is too long for the model; the text is its reason."""


class DroppedError(Exception):
    """The connection broke while the server was answering."""


class KeyWantedError(ChatuiError):
    """The server wants a key, and none was sent."""


def unreachable(error: BaseException, target: Target) -> ChatuiError:
    """The sentence for a connection that could not be made or broke before an answer came."""
    causes = tuple(_causes(error))

    def is_any(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if is_any(socket.gaierror):
        key = "no_such_host"
    elif is_any(ConnectionRefusedError):
        key = "refused"
    elif is_any(ssl.SSLCertVerificationError):
        key = "certificate"
    elif is_any(ssl.SSLError):
        key = "tls"
    elif is_any(httpx2.ConnectTimeout):
        key = "connect_timeout"
    elif is_any(httpx2.TimeoutException):
        key = "slow"
    elif is_any(httpx2.ProtocolError) and "disconnected" not in str(error.__cause__ or error):
        key = "no_http"
    elif is_any(httpx2.ConnectError):
        key = "unreachable"
    else:
        key = "lost"
    return ChatuiError(_with_proxy(say(f"backends.{key}", url=target.url), target))


def refused_request(status: int, body: object, target: Target) -> ChatuiError:
    """The sentence for an answer whose status is not 200."""
    reason = reason_of(body, target)
    if status in (401, 403):
        if target.key is not None:
            text = say("backends.key_refused", url=target.url, source=target.key.source)
        else:
            name = "key_wanted_in" if target.key_env else "key_wanted"
            text = say(f"backends.{name}", url=target.url, variable=target.key_env)
            return KeyWantedError(with_reason(text, reason))
    elif status == 404 and target.model:
        text = say("backends.no_model_there", url=target.url, model=target.model)
    elif status == 429:
        text = say("backends.too_many_requests", url=target.url)
    elif status >= 500:
        text = say("backends.server_error", url=target.url, status=status)
        # A proxy answers so for a server that it cannot reach.
        text = _with_proxy(text, target) if status in (502, 503, 504) else text
    elif status == 400 and _NO_TEMPLATE.search(reason):
        text = say("backends.no_template", url=target.url)
    else:
        text = say("backends.rejected", url=target.url, status=status)
    return ChatuiError(with_reason(text, reason))


def is_too_long(status: int, reason: str) -> bool:
    """Whether a server's reason says that the prompt exceeds the context, in English or Chinese."""
    return status not in _NEVER_TOO_LONG and bool(_TOO_LONG.search(reason))


def error_in(chunk: Mapping[str, Any]) -> Any:
    """What a chunk reports as an error, None where it reports none.

    ``{"error": …}`` (OpenAI, vLLM, llama.cpp), ``{"object": "error", …}`` (older vLLM, FastChat),
    ``{"detail": …}`` (FastAPI), an error in the choice (OpenRouter).
    """
    if chunk.get("error"):
        return chunk
    if "error" in (chunk.get("object"), chunk.get("type")):
        return chunk
    choices = chunk.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        broken = choices[0].get("error") or choices[0].get("finish_reason") in _BROKEN_OFF
        return choices[0] if broken else None
    if not choices and not chunk.get("usage") and _words_of(chunk):
        return chunk
    return None


def broken_stream(error: Mapping[str, Any], target: Target) -> ChatuiError:
    """The sentence for an error that the server reports in the middle of a reply."""
    reason = reason_of(error, target) or str(error.get("finish_reason") or "")
    return ChatuiError(with_reason(say("backends.broke_off", url=target.url), reason))


def reason_of(body: object, target: Target = Target("")) -> str:
    """The server's own words out of an answer's body, on one line; "" where there are none."""
    text = _words_of(body)
    if text.lstrip().startswith("<"):
        return ""
    return one_line(target.hide_key(text), _LONGEST_REASON, drop_unsafe=True)


def with_reason(sentence: str, reason: str) -> str:
    """The sentence with the server's own words, where it said any."""
    if not reason:
        return sentence
    return say("backends.server_says", sentence=sentence.rstrip(".。"), reason=reason.rstrip("."))


def _with_proxy(sentence: str, target: Target) -> str:
    """The sentence with the proxy that was asked instead, where there is one."""
    proxy = proxy_of(target.url)
    if not proxy:
        return sentence
    return say("backends.through_proxy", sentence=sentence.rstrip(".。"), proxy=proxy)


def _words_of(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, dict):
        for name in ("error", "message", "detail", "msg", "error_msg", "title"):
            if body.get(name):
                return _words_of(body[name])
    if isinstance(body, list) and body:
        return _words_of(body[0])
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and all that led to it."""
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
