"""Connections to servers with their API keys, and the lists of their models."""

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
from chatui.backends.openai.chunk_decoder import decode_text, parse_json
from chatui.backends.openai.reply_reader import token_count
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
"""Seconds to wait for an answer: a server may first load the model or read a long prompt."""

# uvicorn closes idle connections after 5 s; close them earlier.
_KEEPALIVE_SECONDS = 4.0
_NOT_THE_LIST_ALONE = frozenset((401, 402, 408, 429))


@dataclass(frozen=True)
class ListedModel:
    """A model in a server's ``/v1/models``.

    Attributes:
        id: its name in requests.
        context_limit: context length in tokens; None if the server does not report it.
    """

    id: str
    context_limit: int | None = None


def http_client(
    target: RequestTarget, *, connect_seconds: float = CONNECT_SECONDS
) -> httpx2.AsyncClient:
    """Create an HTTP client for one server.

    It uses the environment's proxies and certificates, but no proxy for a server on this machine.

    Raises:
        ChatuiError: the environment's proxy or certificates cannot be used.
    """
    headers = {"Authorization": f"Bearer {target.key.value}"} if target.key else {}
    try:
        # Reading the certificates takes 30 ms and is useless for plain HTTP.
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


async def list_models(
    http: httpx2.AsyncClient, target: RequestTarget, seconds: float = LIST_SECONDS
) -> tuple[ListedModel, ...]:
    """Return the models that the server offers.

    Raises:
        NoModelListError: the answer is not a list of models.
        ChatuiError: no answer, a missing or wrong key, or not an OpenAI-compatible server.
    """
    try:
        answer = await http.get(f"{target.url}/models", timeout=seconds)
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        raise connection_error(error, target) from error
    body = parse_json(decode_text(answer.content, answer.charset_encoding))
    status = answer.status_code
    # A key without access to the list may have access to replies.
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
        is_web_page = status == 200 and answer.content and not isinstance(body, dict | list)
        kind = ChatuiError if is_web_page else NoModelListError
        raise kind(with_server_message(sentence, server_message(body, target)))
    listed = (_listed(model) for model in models)
    return tuple(model for model in listed if model is not None)


def choose_model(listed: tuple[ListedModel, ...], wanted: str, url: str) -> ListedModel:
    """Return the listed model that ``wanted`` names; "" takes the first one.

    The owner of a repository and Ollama's tag ":latest" may be left out. SGLang's adapters are
    named BASE:ADAPTER (docs.sglang.io, "LoRA Serving"). With an empty list, ``wanted`` is trusted.

    Raises:
        ChatuiError: the model is not in the list, or the list is empty and ``wanted`` too.
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
    """Return the model of an entry: a name, or an object with an id (Ollama: name, model)."""
    if isinstance(model, str) and model:
        return ListedModel(model)
    if not isinstance(model, dict):
        return None
    for name in ("id", "model", "name"):
        if isinstance(model.get(name), str) and model[name]:
            return ListedModel(model[name], _context_limit(model))
    return None


def _context_limit(model: dict[str, Any]) -> int | None:
    """Return ``max_model_len`` (vLLM, SGLang) or ``meta.n_ctx`` (llama-server)."""
    meta = model.get("meta")
    values = [model.get("max_model_len"), model.get("context_length")]
    if isinstance(meta, dict):
        values += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    return next((limit for value in values if (limit := token_count(value))), None)
