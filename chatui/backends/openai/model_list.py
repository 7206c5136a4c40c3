"""The connection to a server, with its key, and the list of its models."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, TypeVar

import httpx2

from chatui.backends.openai.address import (
    Key,
    from_environment,
    from_keyring,
    is_loopback,
    proxy_of,
)
from chatui.backends.openai.chunk_decoder import TextDecoder, parse_json
from chatui.backends.openai.deltas import token_count
from chatui.backends.openai.server_errors import (
    KeyWantedError,
    NoModelListError,
    RequestTarget,
    connection_error,
    server_message,
    status_error,
    with_server_message,
)
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

_Answer = TypeVar("_Answer")

CONNECT_SECONDS = 5.0
LIST_SECONDS = 10.0
FIRST_BYTE_SECONDS = 600.0
"""A server may load the model or read a long prompt before it answers."""

# uvicorn closes idle connections after 5 s; one that we let go earlier is never found broken.
_KEEPALIVE_SECONDS = 4.0
_NOT_THE_LIST_ALONE = frozenset((401, 402, 408, 429))


@dataclass(frozen=True)
class ListedModel:
    """A model in a server's ``/v1/models``.

    Attributes:
        id: what a request calls it.
        context_limit: tokens, prompt and reply together; None if the server does not tell.
    """

    id: str
    context_limit: int | None = None


def http_client(
    target: RequestTarget, *, connect_seconds: float = CONNECT_SECONDS
) -> httpx2.AsyncClient:
    """A client for one server.

    It uses the proxies and certificates of the environment, but no proxy for a server on this
    machine.

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


async def ask_with_key(
    url: str, variable: str, ask: Callable[[Key | None], Awaitable[_Answer]]
) -> _Answer:
    """What ``ask`` gives with the key for the server at ``url``, if there is one.

    A server on this machine is asked without a key first: it seldom needs one, and a keyring may
    prompt the user.

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
    http: httpx2.AsyncClient, target: RequestTarget, seconds: float = LIST_SECONDS
) -> tuple[ListedModel, ...]:
    """The models that the server offers.

    Raises:
        NoModelListError: it answers, but not with a list of models.
        ChatuiError: nobody answers there, the key is missing or wrong, or it is no such server.
    """
    try:
        answer = await http.get(f"{target.url}/models", timeout=seconds)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise connection_error(error, target) from error
    body = parse_json(TextDecoder(answer.charset_encoding).decode(answer.content, final=True))
    status = answer.status_code
    # Without a list there may be replies all the same: the key may be good for them alone.
    is_refusal = status in _NOT_THE_LIST_ALONE or (status >= 500 and status != 501)
    if is_refusal or (status == 403 and target.key is None):
        raise status_error(status, body, target, answer.headers.get("retry-after", ""))
    if status == 403:
        raise NoModelListError(str(status_error(status, body, target)))
    models: Any = body
    if isinstance(body, dict):
        models = body.get("data", body.get("models"))
        # Ollama without any model answers {"data": null}.
        models = [] if models is None and "data" in body else models
    if status != 200 or not isinstance(models, list):
        sentence = say("backends.no_such_server", url=target.url)
        is_web_page = status == 200 and not isinstance(body, dict | list)
        kind = ChatuiError if is_web_page else NoModelListError
        raise kind(with_server_message(sentence, server_message(body, target)))
    listed = (_listed(model) for model in models)
    return tuple(model for model in listed if model is not None)


def choose_model(listed: tuple[ListedModel, ...], wanted: str, url: str) -> ListedModel:
    """The listed model that ``wanted`` names; the first one if it is empty.

    The owner before a repository's name and Ollama's tag after it may be left out; SGLang's
    adapters are asked for as BASE:ADAPTER (docs.sglang.io, "LoRA Serving"). A server that lists
    nothing (yet) is believed.

    Raises:
        ChatuiError: the server lists others (the nearest are named), or none at all.
    """
    for candidate in listed:
        if candidate.id in (wanted, f"{wanted}:latest") or not wanted:
            return candidate
    for candidate in listed:
        if wanted.startswith(f"{candidate.id}:"):
            return replace(candidate, id=wanted)
        if candidate.id.rpartition("/")[2] == wanted:
            return candidate
    if not listed:
        if wanted:
            return ListedModel(wanted)
        raise ChatuiError(say("backends.no_models", url=url))
    ids = [model.id for model in listed]
    nearest = get_close_matches(wanted, ids, n=3, cutoff=0.3)
    names = ", ".join(map(one_line, list(dict.fromkeys((*nearest, *ids)))[:3]))
    raise ChatuiError(say("backends.model_not_listed", url=url, model=wanted, names=names))


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
    return next((limit for value in values if (limit := token_count(value))), None)
