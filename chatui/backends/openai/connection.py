"""The HTTP client for one server, with its key, its timeouts, and what it says of its models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from chatui.backends.openai.address import is_loopback, proxy_of
from chatui.backends.openai.failures import (
    KeyWantedError,
    Place,
    refused_request,
    unreachable,
)
from chatui.backends.openai.keys import Key, from_environment, from_keyring
from chatui.errors import ChatuiError
from chatui.locales import say

_Answer = TypeVar("_Answer")

CONNECT_SECONDS = 5.0
LIST_SECONDS = 10.0
FIRST_BYTE_SECONDS = 600.0
"""A server may load the model or read a long prompt before it answers."""

# uvicorn closes idle connections after 5 s; one that we let go earlier is never found broken.
_KEEPALIVE_SECONDS = 4.0


@dataclass(frozen=True)
class Listed:
    """A model in a server's ``/v1/models``.

    Attributes:
        id: what a request calls it.
        context_limit: tokens, prompt and reply together; None where the server does not tell.
    """

    id: str
    context_limit: int | None = None


def http_client(place: Place, *, connect_seconds: float = CONNECT_SECONDS) -> httpx2.AsyncClient:
    """A client for one server.

    Proxies and certificates of the environment are respected, except that a server on this
    machine is never looked for behind a proxy.

    Raises:
        ChatuiError: the environment's proxy is none that can be used.
    """
    headers = {"Authorization": f"Bearer {place.key.value}"} if place.key else {}
    try:
        return httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(
                FIRST_BYTE_SECONDS, connect=connect_seconds, pool=connect_seconds
            ),
            limits=httpx2.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
            follow_redirects=True,
            trust_env=not is_loopback(place.url),
            # Reading the certificates takes 30 ms, and plain HTTP has no use for them.
            verify=place.url.startswith("https:"),
        )
    except (ValueError, httpx2.InvalidURL) as error:
        raise ChatuiError(say("backends.bad_proxy", proxy=proxy_of(place.url))) from error


async def with_key(
    url: str, variable: str, ask: Callable[[Key | None], Awaitable[_Answer]]
) -> _Answer:
    """What ``ask`` gives with the key for the server at ``url``, if there is one.

    A server on this machine is asked without a key first, for it seldom wants one and a keyring may
    bother its user.

    Raises:
        ChatuiError: what ``ask`` raises, or a key that is none.
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


async def list_models(
    http: httpx2.AsyncClient, place: Place, seconds: float = LIST_SECONDS
) -> tuple[Listed, ...]:
    """The models that the server offers.

    Raises:
        ChatuiError: nobody answers there, the key is missing or wrong, or it is no such server.
    """
    try:
        answer = await http.get(f"{place.url}/models", timeout=seconds)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise unreachable(error, place) from error
    if answer.status_code in (404, 405):
        raise ChatuiError(say("backends.no_such_server", url=place.url))
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.status_code != 200:
        raise refused_request(answer.status_code, body, place)
    models = body.get("data") if isinstance(body, dict) else None
    # Ollama without any model answers {"data": null}.
    if models is None and isinstance(body, dict) and body.get("object") == "list":
        models = []
    if not isinstance(models, list):
        raise ChatuiError(say("backends.no_such_server", url=place.url))
    return tuple(
        Listed(model["id"], _context_limit(model))
        for model in models
        if isinstance(model, dict) and isinstance(model.get("id"), str) and model["id"]
    )


def _context_limit(model: dict[str, Any]) -> int | None:
    """vLLM and SGLang say ``max_model_len``, llama-server ``meta.n_ctx``."""
    meta = model.get("meta")
    places = [model.get("max_model_len"), model.get("context_length")]
    if isinstance(meta, dict):
        places += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    limits = [limit for limit in places if isinstance(limit, int) and limit > 0]
    return limits[0] if limits else None
