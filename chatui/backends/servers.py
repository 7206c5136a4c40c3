"""The models on servers: those in the settings, and those on this machine's usual ports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from chatui.backends.openai.address import base_url, host_of, is_loopback
from chatui.errors import ChatuiError
from chatui.messages import ModelSpec
from chatui.sampling import SamplingSettings
from chatui.settings import Server

USUAL_PORTS: tuple[tuple[int, str], ...] = (
    (11434, "Ollama"),
    (8000, "vLLM"),
    (30000, "SGLang"),
    (8080, "llama-server"),
    (1234, "LM Studio"),
)
"""Ports and the servers that listen there unless told otherwise."""

_LOCAL_SECONDS = 0.3
_REMOTE_SECONDS = 3.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerModel:
    """A model that a server offers.

    Attributes:
        server: the server's base URL.
        server_name: the settings' name for the server, or what usually listens there.
        id: what the server calls the model.
        context_limit: tokens, prompt and reply together; None where the server does not tell.
        api: "chat" or "completions", as the settings say.
        key_env: the environment variable with the server's key, as the settings say.
    """

    server: str
    server_name: str
    id: str
    context_limit: int | None = None
    api: Literal["chat", "completions"] = "chat"
    key_env: str = ""


async def models_of(server: Server | str, seconds: float = 10.0) -> tuple[ServerModel, ...]:
    """The models of one server.

    Raises:
        ChatuiError: it is no address, nobody answers there, the key is missing or wrong, or it is
            no OpenAI-compatible server.
    """
    # httpx2 takes 60 ms to import; a start without servers does not pay for it.
    from chatui.backends.openai.connection import http_client, list_models
    from chatui.backends.openai.failures import Place
    from chatui.backends.openai.keys import from_environment, from_keyring

    entry = Server(url=server) if isinstance(server, str) else server
    url = base_url(entry.url)
    key = from_environment(url, entry.key_env)
    if key is None and not is_loopback(url):
        key = await from_keyring(url)
    place = Place(url, key=key, key_env=entry.key_env)
    async with http_client(place, connect_seconds=min(seconds, 5.0)) as http:
        listed = await list_models(http, place, seconds)
    name = entry.name or host_of(url)
    return tuple(
        ServerModel(url, name, model.id, model.context_limit, entry.api, entry.key_env)
        for model in listed
    )


async def probe(
    servers: Iterable[Server] = (), ports: Iterable[tuple[int, str]] = USUAL_PORTS
) -> tuple[ServerModel, ...]:
    """The models of all these servers and of whatever answers on this machine's ``ports``.

    All are asked at once; one that does not answer (in 0.3 s on this machine, 3 s elsewhere) or is
    no such server is left out, and the log says why. Raises nothing.
    """
    configured = list(servers)
    known: set[str] = set()
    for server in configured:
        try:
            known.add(base_url(server.url).replace("//localhost", "//127.0.0.1"))
        except ChatuiError as error:
            _log.info("%s", error)
    local = [
        Server(url=f"http://127.0.0.1:{port}", name=name)
        for port, name in ports
        if f"http://127.0.0.1:{port}/v1" not in known
    ]
    answers = await asyncio.gather(*(_quietly(server) for server in configured + local))
    return tuple(model for answer in answers for model in answer)


async def _quietly(server: Server) -> tuple[ServerModel, ...]:
    try:
        seconds = _LOCAL_SECONDS if is_loopback(base_url(server.url)) else _REMOTE_SECONDS
        return await asyncio.wait_for(models_of(server, seconds), seconds * 2)
    except (ChatuiError, asyncio.TimeoutError, TimeoutError) as error:
        _log.info("%s: %s", server.name or "server", error)
        return ()


def spec_for(
    server: Server | ServerModel | str,
    model: str = "",
    *,
    format: str | None = None,
    system: str | None = None,
    sampling: SamplingSettings | None = None,
    stop_strings: tuple[str, ...] = (),
    context_limit: int | None = None,
) -> ModelSpec:
    """What a backend needs to talk with ``model`` on ``server``.

    ``format`` None takes the server's own template (its chat API), or, where the settings say that
    the server is to be used for completions, the bare text. ``model`` "" takes the first model
    that the server lists.

    Raises:
        ChatuiError: the server's address is none.
    """
    key_env, api = "", "chat"
    if isinstance(server, str):
        url = base_url(server)
    elif isinstance(server, Server):
        url, key_env, api = base_url(server.url), server.key_env, server.api
    else:
        url, key_env, api = server.server, server.key_env, server.api
        model = model or server.id
        context_limit = context_limit or server.context_limit
    if format is None:
        format = "chat-template" if api == "chat" else BARE_TEXT
    return ModelSpec(
        name=model or host_of(url),
        path=model,
        backend="openai",
        format=format,
        sampling=sampling or SamplingSettings(),
        stop_strings=stop_strings,
        context_limit=context_limit,
        system=system,
        server=url,
        key_env=key_env,
    )


BARE_TEXT = "bloomz"
"""The prompt format that adds nothing to the query."""
