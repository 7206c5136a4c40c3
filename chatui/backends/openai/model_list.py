"""The connection to a server, with its key, and the list of its models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from chatui.backends.openai.address import (
    Key,
    from_environment,
    from_keyring,
    is_loopback,
    proxy_of,
)
from chatui.backends.openai.server_errors import (
    KeyWantedError,
    NoModelListError,
    Target,
    refused_request,
    unreachable,
)
from chatui.errors import ChatuiError
from chatui.locales import say

_Answer = TypeVar("_Answer")

CONNECT_SECONDS = 5.0
LIST_SECONDS = 10.0
FIRST_BYTE_SECONDS = 600.0
"""A server may load the model or read a long prompt before it answers."""

# uvicorn closes idle connections after 5 s; one that we let go earlier is never found broken.
_KEEPALIVE_SECONDS = 4.0
_NO_LIST = frozenset((400, 403, 404, 405, 410, 501))


@dataclass(frozen=True)
class ListedModel:
    """A model in a server's ``/v1/models``.

    Attributes:
        id: what a request calls it.
        context_limit: tokens, prompt and reply together; None where the server does not tell.
    """

    id: str
    context_limit: int | None = None


def http_client(target: Target, *, connect_seconds: float = CONNECT_SECONDS) -> httpx2.AsyncClient:
    """A client for one server.

    Proxies and certificates of the environment are respected, except that a server on this
    machine is never looked for behind a proxy.

    Raises:
        ChatuiError: the environment's proxy or file of certificates cannot be used.
    """
    headers = {"Authorization": f"Bearer {target.key.value}"} if target.key else {}
    try:
        # Reading the certificates takes 30 ms, and plain HTTP has no use for them.
        verify = httpx2.create_ssl_context() if target.url.startswith("https:") else False
    except (OSError, ValueError) as error:
        raise ChatuiError(say("backends.bad_certificates", reason=error)) from error
    try:
        return httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(
                FIRST_BYTE_SECONDS, connect=connect_seconds, pool=connect_seconds
            ),
            limits=httpx2.Limits(keepalive_expiry=_KEEPALIVE_SECONDS),
            follow_redirects=True,
            trust_env=not is_loopback(target.url),
            verify=verify,
        )
    except (ValueError, httpx2.InvalidURL) as error:
        raise ChatuiError(say("backends.bad_proxy", proxy=proxy_of(target.url))) from error


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
    http: httpx2.AsyncClient, target: Target, seconds: float = LIST_SECONDS
) -> tuple[ListedModel, ...]:
    """The models that the server offers.

    Raises:
        NoModelListError: it answers, but not with a list of models.
        ChatuiError: nobody answers there, the key is missing or wrong, or it is no such server.
    """
    try:
        answer = await http.get(f"{target.url}/models", timeout=seconds)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise unreachable(error, target) from error
    try:
        body = answer.json()
    except (ValueError, RecursionError):
        body = None
    if answer.status_code == 403:
        # The key may be good for replies and not for the list.
        refusal = refused_request(403, body, target)
        raise refusal if isinstance(refusal, KeyWantedError) else NoModelListError(str(refusal))
    if answer.status_code in _NO_LIST:
        raise NoModelListError(say("backends.no_such_server", url=target.url))
    if answer.status_code != 200:
        raise refused_request(answer.status_code, body, target)
    if not isinstance(body, dict | list):
        raise ChatuiError(say("backends.no_such_server", url=target.url))
    models: Any = body
    if isinstance(body, dict):
        models = body.get("data", body.get("models"))
        # Ollama without any model answers {"data": null}.
        models = [] if models is None and body.get("object") == "list" else models
    if not isinstance(models, list):
        raise NoModelListError(say("backends.no_such_server", url=target.url))
    listed = (_listed(model) for model in models)
    return tuple(model for model in listed if model is not None)


def _listed(model: Any) -> ListedModel | None:
    """The model of an entry: a name, or an object with an id (Ollama: name, model)."""
    if isinstance(model, str) and model:
        return ListedModel(model)
    if not isinstance(model, dict):
        return None
    for name in ("id", "model", "name"):
        if isinstance(model.get(name), str) and model[name]:
            return ListedModel(model[name], _context_limit(model))
    return None


def _context_limit(model: dict[str, Any]) -> int | None:
    """vLLM and SGLang say ``max_model_len``, llama-server ``meta.n_ctx``."""
    meta = model.get("meta")
    values = [model.get("max_model_len"), model.get("context_length")]
    if isinstance(meta, dict):
        values += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    limits = [limit for limit in values if isinstance(limit, int) and limit > 0]
    return limits[0] if limits else None
