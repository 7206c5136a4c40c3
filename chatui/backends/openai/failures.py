"""What goes wrong between here and a server, each as one sentence."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from chatui.backends.openai.address import proxy_of
from chatui.backends.openai.keys import Key
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_LONGEST_REASON = 200
_NO_TEMPLATE = re.compile(r"chat.?template", re.IGNORECASE)


@dataclass(frozen=True)
class Place:
    """Where a request went, for the sentence that tells of its failure.

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


class KeyWantedError(ChatuiError):
    """The server wants a key, and none was sent."""


def unreachable(error: BaseException, place: Place) -> ChatuiError:
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
    return ChatuiError(_with_proxy(say(f"backends.{key}", url=place.url), place))


def refused_request(status: int, body: object, place: Place) -> ChatuiError:
    """The sentence for an answer whose status is not 200."""
    reason = reason_of(body, place)
    if status in (401, 403):
        if place.key is not None:
            text = say("backends.key_refused", url=place.url, source=place.key.source)
        else:
            name = "key_wanted_in" if place.key_env else "key_wanted"
            text = say(f"backends.{name}", url=place.url, variable=place.key_env)
            return KeyWantedError(with_reason(text, reason))
    elif status == 404 and place.model:
        text = say("backends.no_model_there", url=place.url, model=place.model)
    elif status == 429:
        text = say("backends.too_many_requests", url=place.url)
    elif status >= 500:
        text = say("backends.server_error", url=place.url, status=status)
        # A proxy answers so for a server that it cannot reach.
        text = _with_proxy(text, place) if status in (502, 503, 504) else text
    elif status == 400 and _NO_TEMPLATE.search(reason):
        text = say("backends.no_template", url=place.url)
    else:
        text = say("backends.rejected", url=place.url, status=status)
    return ChatuiError(with_reason(text, reason))


def broken_stream(reason: str, place: Place) -> ChatuiError:
    """The sentence for an error that the server reports in the middle of a reply."""
    return ChatuiError(
        with_reason(say("backends.broke_off", url=place.url), reason_of(reason, place))
    )


def reason_of(body: object, place: Place = Place("")) -> str:
    """The server's own words out of an answer's body, on one line; "" where there are none."""
    text = _words_of(body)
    if text.lstrip().startswith("<"):
        return ""
    return one_line(place.hide_key(text), _LONGEST_REASON, drop_unsafe=True)


def with_reason(sentence: str, reason: str) -> str:
    """The sentence with the server's own words, where it said any."""
    if not reason:
        return sentence
    return say("backends.server_says", sentence=sentence.rstrip(".。"), reason=reason.rstrip("."))


def _with_proxy(sentence: str, place: Place) -> str:
    """The sentence with the proxy that was asked instead, where there is one."""
    proxy = proxy_of(place.url)
    if not proxy:
        return sentence
    return say("backends.through_proxy", sentence=sentence.rstrip(".。"), proxy=proxy)


def _words_of(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, dict):
        for name in ("error", "message", "detail", "msg"):
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
