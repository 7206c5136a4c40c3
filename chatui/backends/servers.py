"""The models on servers: those in the settings, and those on this machine's usual ports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from chatui.backends.openai.address import base_url, host_of, is_loopback
from chatui.catalog import Entry
from chatui.catalog.resolving import with_users_settings
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.sampling import SamplingSettings
from chatui.settings import Server, Settings

USUAL_PORTS: tuple[tuple[int, str], ...] = (
    (11434, "ollama"),
    (8000, "vllm"),
    (30000, "sglang"),
    (8080, "llama-server"),
    (1234, "lm-studio"),
)
"""Ports, and what the server that listens there unless told otherwise is called here."""

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
        context_limit: tokens, prompt and reply together; None if the server does not tell.
        api: "chat" or "completions", as the settings say.
        key_env: the environment variable with the server's key, as the settings say.
    """

    server: str
    server_name: str
    id: str
    context_limit: int | None = None
    api: Literal["chat", "completions"] = "chat"
    key_env: str = ""

    @property
    def reference(self) -> str:
        """What ``--model`` takes."""
        return f"{self.server_name}:{self.id}"


async def models_of(server: Server | str, seconds: float = 10.0) -> tuple[ServerModel, ...]:
    """The models of one server.

    Raises:
        ChatuiError: it is no address, nobody answers there, the key is missing or wrong, or it is
            no OpenAI-compatible server.
    """
    # httpx2 takes 60 ms to import; a start without servers does not pay for it.
    from chatui.backends.openai.address import Key
    from chatui.backends.openai.model_list import ListedModel, http_client, list_models, with_key
    from chatui.backends.openai.server_errors import Target

    entry = Server(url=server) if isinstance(server, str) else server
    url = base_url(entry.url)

    async def listed(key: Key | None) -> tuple[ListedModel, ...]:
        target = Target(url, key=key, key_env=entry.key_env)
        async with http_client(target, connect_seconds=min(seconds, 5.0)) as http:
            return await list_models(http, target, seconds)

    name = name_of(entry)
    return tuple(
        ServerModel(url, name, model.id, model.context_limit, entry.api, entry.key_env)
        for model in await with_key(url, entry.key_env, listed)
    )


async def entries(
    settings: Settings,
    must_answer: str | None = None,
    ports: Iterable[tuple[int, str]] | None = None,
) -> tuple[Entry, ...]:
    """The models of all servers that answer, as rows of the models' table.

    Asks the servers of the settings and this machine's ``ports`` (``USUAL_PORTS`` by default), all
    at once. A server of the settings that does not answer (in 0.3 s on this machine, 3 s elsewhere)
    or not as it should has a row that says so; what else does not answer is left out.

    Raises:
        ChatuiError: ``must_answer``, the address of a server, is none that answers.
    """
    if must_answer is not None:
        await models_of(_known_or_new(must_answer, settings))
    asked = _with_usual(settings.servers, USUAL_PORTS if ports is None else ports)
    rows: list[Entry] = []
    silent: list[Entry] = []
    for server, answer in zip(asked, await asyncio.gather(*map(_quietly, asked)), strict=True):
        if not isinstance(answer, ChatuiError):
            rows += map(_row, answer)
        elif server in settings.servers:
            silent.append(_silent_row(server, answer))
    return (*rows, *silent)


def _row(model: ServerModel) -> Entry:
    return Entry(
        model.reference,
        "server",
        model.reference,
        say("backends.on_server", url=model.server),
        format=model.api if model.api == "completions" else CHAT_TEMPLATE,
    )


def _silent_row(server: Server, error: ChatuiError) -> Entry:
    name = server.name or (name_of(server) if _base_or_none(server) else "?")
    return Entry(name, "server", name, str(error), usable=False, missing=str(error))


def resolve(
    reference: str, settings: Settings, *, server: str | None = None, format: str | None = None
) -> ModelSpec | None:
    """What a backend needs for ``NAME:MODEL``, or for MODEL on ``server``, an address.

    NAME is a server's name in the settings (its host and port if it has none), or one of
    ``USUAL_PORTS``. No server is asked; None if the reference is no such thing.

    Raises:
        ChatuiError: ``server`` is no address, or a sampling setting of the user's is wrong.
    """
    if server is not None:
        spec = spec_for(_known_or_new(server, settings), reference, format=format)
    else:
        for entry in _known(settings):
            name = f"{name_of(entry)}:"
            if reference.casefold().startswith(name.casefold()):
                spec = spec_for(entry, reference[len(name) :], format=format)
                break
        else:
            return None
    return replace(
        spec,
        sampling=with_users_settings(spec.sampling, settings),
        reply_reserve=settings.reply_reserve or None,
        think=None if settings.think == "auto" else settings.think,
    )


def with_server(settings: Settings, url: str) -> Settings:
    """The settings with this server before the others, if it is not among them.

    Raises:
        ChatuiError: it is no address.
    """
    server = _known_or_new(url, settings)
    if server in settings.servers:
        return settings
    return replace(settings, servers=(server, *settings.servers))


def name_of(server: Server) -> str:
    """The server's name, or its host and port."""
    return server.name or host_of(base_url(server.url))


def _with_usual(
    configured: tuple[Server, ...], ports: Iterable[tuple[int, str]]
) -> tuple[Server, ...]:
    """The configured servers, and those of this machine's ``ports`` that are not among them."""
    known = {
        base.replace("//localhost", "//127.0.0.1")
        for server in configured
        if (base := _base_or_none(server))
    }
    local = (_local(port, name) for port, name in ports)
    return (*configured, *(server for server in local if base_url(server.url) not in known))


def _known(settings: Settings) -> tuple[Server, ...]:
    usual = (_local(port, name) for port, name in USUAL_PORTS)
    return (*(one for one in settings.servers if _base_or_none(one)), *usual)


def _known_or_new(url: str, settings: Settings) -> Server:
    """The server with this address, with its key and name where the settings have it."""
    wanted = base_url(url)
    return next((one for one in _known(settings) if _base_or_none(one) == wanted), Server(url=url))


def _local(port: int, name: str) -> Server:
    return Server(url=f"http://127.0.0.1:{port}", name=name)


def _base_or_none(server: Server) -> str | None:
    try:
        return base_url(server.url)
    except ChatuiError:
        return None


async def _quietly(server: Server) -> tuple[ServerModel, ...] | ChatuiError:
    """The server's models, or why there are none."""
    try:
        seconds = _LOCAL_SECONDS if is_loopback(base_url(server.url)) else _REMOTE_SECONDS
        return await asyncio.wait_for(models_of(server, seconds), seconds * 2)
    except ChatuiError as error:
        failure = error
    except (asyncio.TimeoutError, TimeoutError):
        failure = ChatuiError(say("backends.slow", url=base_url(server.url)))
    _log.info("%s: %s", server.name or "server", failure)
    return failure


def spec_for(
    server: Server | ServerModel | str,
    model: str = "",
    *,
    format: str | None = None,
    context_limit: int | None = None,
) -> ModelSpec:
    """What a backend needs to talk with ``model`` on ``server``.

    ``format`` None takes the server's own template (its chat API), or, where the settings say that
    the server is to be used for completions, the bare text. ``model`` "" takes the first model
    that the server lists.

    Raises:
        ChatuiError: the server's address is none.
    """
    if isinstance(server, str):
        server = Server(url=server)
    if isinstance(server, ServerModel):
        url, name = server.server, server.server_name
        model = model or server.id
        context_limit = context_limit or server.context_limit
    else:
        url, name = base_url(server.url), name_of(server)
    if format is None:
        format = CHAT_TEMPLATE if server.api == "chat" else BARE_TEXT
    return ModelSpec(
        name=f"{name}:{model}" if model else name,
        path=model,
        backend="openai",
        format=format,
        sampling=SamplingSettings(),
        context_limit=context_limit,
        server=url,
        key_env=server.key_env,
    )


BARE_TEXT = "bloomz"
"""The prompt format that adds nothing to the query."""
