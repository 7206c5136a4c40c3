"""Connections to servers with their API keys, and their errors, each as one sentence."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2

from chatui.backends.openai.address import (
    Key,
    from_environment,
    from_keyring,
    is_loopback,
    proxy_of,
)
from chatui.backends.openai.chunk_decoder import decode_text, first_message, parse_json
from chatui.backends.openai.model_list import ListedModel, models_in
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_Answer = TypeVar("_Answer")

CONNECT_SECONDS = 5.0
LIST_SECONDS = 10.0
FIRST_BYTE_SECONDS = 600.0
"""Seconds to wait for an answer: a server may first load the model or read a long prompt."""

# uvicorn closes idle connections after 5 s; close them earlier.
_KEEPALIVE_SECONDS = 4.0
_NOT_THE_LIST_ALONE = frozenset((401, 402, 408, 429))
_MAX_MESSAGE_CHARACTERS = 200
_NO_TEMPLATE = re.compile(r"chat.?template", re.IGNORECASE)
_CONNECTION_ERRORS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "no_such_host"),
    (ConnectionRefusedError, "refused"),
    (ssl.SSLCertVerificationError, "certificate"),
    (ssl.SSLError, "tls"),
    (httpx2.ConnectTimeout, "connect_timeout"),
    (httpx2.TimeoutException, "slow"),
    (httpx2.ProtocolError, "no_http"),
    (httpx2.ConnectError, "unreachable"),
    (BaseException, "lost"),
)
"""Exceptions among the causes of a failure, most specific first, and their sentences."""


class NoModelListError(ChatuiError):
    """The answer of a server is not a list of models."""


class KeyWantedError(ChatuiError):
    """The server needs a key, and none was sent."""


class ListKeyWantedError(KeyWantedError):
    """The server needs a key for the list of models, and perhaps not for replies (status 403)."""


class Connection:
    """A connection to one server.

    It uses the environment's proxies and certificates, but no proxy for a server on this machine.

    Args:
        url: base URL of the server.
        key: the API key; None for none.
        key_env: name of the key's environment variable in the settings.

    Attributes:
        http: the HTTP client.
        model: id of the model in requests; "" before it is chosen.

    Raises:
        ChatuiError: the environment's proxy or certificates cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: Key | None = None,
        key_env: str = "",
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self.url = url
        self.model = ""
        self._key = key
        self._key_env = key_env
        try:
            # Reading the certificates takes 30 ms and is useless for plain HTTP.
            verify = httpx2.create_ssl_context() if url.startswith("https:") else False
        except (OSError, ValueError) as error:
            raise ChatuiError(say("backends.bad_certificates", reason=error)) from error
        try:
            self.http = httpx2.AsyncClient(
                headers={"Authorization": f"Bearer {key.value}"} if key else {},
                timeout=httpx2.Timeout(
                    FIRST_BYTE_SECONDS, connect=connect_seconds, pool=connect_seconds
                ),
                limits=httpx2.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
                follow_redirects=True,
                trust_env=not is_loopback(url),
                verify=verify,
            )
        except (ValueError, httpx2.InvalidURL) as error:
            raise ChatuiError(say("backends.bad_proxy", proxy=proxy_of(url))) from error

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise ChatuiError for a connection that fails before an answer arrives."""
        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            causes = tuple(_causes(error))
            key = next(
                key
                for kind, key in _CONNECTION_ERRORS
                if any(isinstance(cause, kind) for cause in causes)
            )
            if key == "no_http" and "disconnected" in str(error.__cause__ or error):
                key = "lost"
            raise self.error(key, through_proxy=True) from error

    def error(
        self,
        key: str,
        body: object = None,
        kind: type[ChatuiError] = ChatuiError,
        *,
        through_proxy: bool = False,
        **values: object,
    ) -> ChatuiError:
        """Return the error with a sentence of ``backends`` and the server's message, if any.

        Args:
            key: key of the sentence.
            body: the body of an answer, or its message.
            through_proxy: whether to name the environment's proxy.
        """
        sentence = say(f"backends.{key}", url=self.url, **values)
        if through_proxy and (proxy := proxy_of(self.url)):
            sentence = say("backends.through_proxy", sentence=sentence.rstrip(".。"), proxy=proxy)
        if reason := self.message_in(body).rstrip("."):
            sentence = say("backends.server_says", sentence=sentence.rstrip(".。"), reason=reason)
        return kind(sentence)

    def status_error(self, response: httpx2.Response, body: object) -> ChatuiError:
        """Return the error for a status other than 200."""
        status, wait = response.status_code, response.headers.get("retry-after", "")
        key, kind = "rejected", ChatuiError
        if status in (401, 403) and self._key:
            key = "key_refused"
        elif status in (401, 403):
            key = "key_wanted_in" if self._key_env else "key_wanted"
            kind = KeyWantedError if status == 401 else ListKeyWantedError
        elif status == 404 and self.model:
            key = "no_model_there"
        elif status in (429, 503) and wait.isdecimal():
            key = "retry_after"
        elif status == 429:
            key = "too_many_requests"
        elif status >= 500:
            key = "server_error"
        elif status == 400 and _NO_TEMPLATE.search(self.message_in(body)):
            key = "no_template"
        return self.error(
            key,
            body,
            kind,
            # A proxy sends these for a server that it cannot reach.
            through_proxy=key == "server_error" and status in (502, 503, 504),
            status=status,
            seconds=wait,
            model=self.model,
            variable=self._key_env,
            source=self._key.source if self._key else "",
        )

    def message_in(self, body: object) -> str:
        """Return the message in the body of an answer, on one line; "" if there is none."""
        text = first_message(body)
        if text.lstrip().startswith("<"):
            return ""
        text = text.replace(self._key.value, "•••") if self._key else text
        return one_line(text, _MAX_MESSAGE_CHARACTERS, drop_unsafe=True)

    async def models(self, seconds: float = LIST_SECONDS) -> tuple[ListedModel, ...]:
        """Return the models that the server offers.

        Raises:
            NoModelListError: the answer is not a list of models.
            ChatuiError: no answer, a missing or wrong key, or not an OpenAI-compatible server.
        """
        with self.errors():
            answer = await self.http.get(f"{self.url}/models", timeout=seconds)
        body = parse_json(decode_text(answer.content, answer.charset_encoding))
        status = answer.status_code
        # A key without access to the list may have access to replies.
        is_refusal = status in _NOT_THE_LIST_ALONE or (status >= 500 and status != 501)
        if is_refusal or (status == 403 and self._key is None):
            raise self.status_error(answer, body)
        if status == 403:
            raise NoModelListError(str(self.status_error(answer, body)))
        models = models_in(body) if status == 200 else None
        if models is None:
            is_web_page = status == 200 and answer.content and not isinstance(body, dict | list)
            kind = ChatuiError if is_web_page else NoModelListError
            raise self.error("no_such_server", body, kind)
        return models

    async def post(self, endpoint: str, fields: dict[str, Any]) -> httpx2.Response:
        """Post a request; the body of the response is not read yet.

        Raises:
            ChatuiError: the connection failed, or the server redirects to another address.
        """
        with self.errors():
            request = self.http.build_request("POST", self.url + endpoint, json=fields)
            try:
                response = await self.http.send(request, stream=True)
            except (httpx2.RemoteProtocolError, httpx2.ReadError):
                # The server may have closed the kept-alive connection.
                response = await self.http.send(request, stream=True)
        if response.request.method != "POST":
            # Most redirects turn it into a GET.
            await response.aclose()
            place = str(response.url).partition("?")[0].rstrip("/").removesuffix(endpoint)
            raise self.error("moved", place=one_line(place))
        return response


async def ask_with_key(
    url: str, variable: str, ask: Callable[[Key | None], Awaitable[_Answer]]
) -> _Answer:
    """Call ``ask`` with the key for the server at ``url``, or None, and return the result.

    A server on this machine is asked without the keyring's key first: it seldom needs one, and the
    keyring may prompt the user.

    Raises:
        ChatuiError: ``ask`` raised it, or the key is invalid.
    """
    key = from_environment(url, variable)
    if key is None and not is_loopback(url):
        key = await from_keyring(url)
    try:
        return await ask(key)
    except KeyWantedError:
        key = await from_keyring(url) if is_loopback(url) else None
        if key is None:
            raise
    return await ask(key)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and all its causes."""
    while error is not None:
        yield error
        # Only Python 3.11 has ExceptionGroup; anyio brings its own for 3.10.
        for part in getattr(error, "exceptions", ()):
            yield from _causes(part)
        error = error.__cause__ or error.__context__
