"""The models on servers: those of the settings, and those on the usual local ports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import structs

from chatui.backends.openai.address import base_url, host_of, is_loopback
from chatui.catalog import ModelEntry
from chatui.catalog.resolving import with_users_settings
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.prompting.format import CHAT_TEMPLATE
from chatui.settings import Server, Settings

if TYPE_CHECKING:
    from chatui.backends.openai.address import Key
    from chatui.backends.openai.model_list import ListedModel

PLAIN_TEXT_FORMAT = "bloomz"
"""The prompt format that consists of the query alone."""

USUAL_PORTS: tuple[tuple[int, str], ...] = (
    (11434, "ollama"),
    (8000, "vllm"),
    (30000, "sglang"),
    (8080, "llama-server"),
    (1234, "lm-studio"),
)
"""Default ports of servers, and their names."""

_LOCAL_SECONDS = 1.0
_REMOTE_SECONDS = 3.0
_log = logging.getLogger(__name__)


async def models_of(server: Server | str, seconds: float = 10.0) -> tuple[ListedModel, ...]:
    """Return the models of one server.

    Raises:
        ChatuiError: an invalid address, no answer, a missing or wrong key, or not an
            OpenAI-compatible server.
    """
    # Imported late, because httpx2 takes 60 ms.
    from chatui.backends.openai.connection import Connection, ask_with_key

    server = Server(url=server) if isinstance(server, str) else server
    url, key_env = base_url(server.url), server.key_env

    async def listed(key: Key | None) -> tuple[ListedModel, ...]:
        connection = Connection(url, key, key_env, connect_seconds=min(seconds, 5.0))
        async with connection.http:
            return await connection.models(seconds)

    return await ask_with_key(url, key_env, listed)


async def entries(
    settings: Settings,
    must_answer: str | None = None,
    ports: Iterable[tuple[int, str]] | None = None,
) -> tuple[ModelEntry, ...]:
    """Return the models of all servers that answer, as rows of the models' table.

    Asks the servers of the settings and the local ``ports`` (default: ``USUAL_PORTS``) at the same
    time. A server of the settings that fails or does not answer in time (2 s on this machine, 6 s
    elsewhere) gets a row with the error; ports without a server are left out.

    Raises:
        ChatuiError: the server with the address ``must_answer`` fails.
    """
    if must_answer is not None:
        await models_of(_known_or_new(must_answer, settings))
    taken = {_address(one).replace("//localhost", "//127.0.0.1") for one in settings.servers}
    usual = _usual(USUAL_PORTS if ports is None else ports)
    asked = (*settings.servers, *(one for one in usual if _address(one) not in taken))
    found = zip(asked, await asyncio.gather(*map(_rows, asked)), strict=True)
    rows = [
        row
        for server, its_rows in found
        for row in its_rows
        if row.usable or server in settings.servers
    ]
    return tuple(sorted(rows, key=lambda row: not row.usable))


async def _rows(server: Server) -> list[ModelEntry]:
    """Return the models of a server as rows, or one row with the error."""
    try:
        url = base_url(server.url)
        seconds = _LOCAL_SECONDS if is_loopback(url) else _REMOTE_SECONDS
        try:
            models = await asyncio.wait_for(models_of(server, seconds), seconds * 2)
        except (asyncio.TimeoutError, TimeoutError):
            raise ChatuiError(say("backends.slow", url=url)) from None
    except ChatuiError as error:
        _log.info("%s: %s", server.name or "server", error)
        name = server.name or host_of(_address(server)) or "?"
        return [ModelEntry(name, "server", name, str(error), usable=False, missing=str(error))]
    about, format = say("backends.on_server", url=url), _default_format(server)
    names = [f"{server_name(server)}:{model.id}" for model in models]
    return [ModelEntry(name, "server", name, about, format=format) for name in names]


def resolve(
    reference: str, settings: Settings, *, server: str | None = None, format: str | None = None
) -> ModelSpec | None:
    """Return the spec of ``NAME:MODEL``, or of MODEL on the server with the address ``server``.

    NAME is the name of a server in the settings (default: its host and port) or in
    ``USUAL_PORTS``. No request is sent. None if the reference does not name a server.

    Raises:
        ChatuiError: ``server`` is not an address, or a sampling setting is invalid.
    """
    if server is not None:
        spec = spec_for(_known_or_new(server, settings), reference, format=format)
    else:
        for entry in _known(settings):
            name = f"{server_name(entry)}:"
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
    """Return the settings with a server added before the others, if it is new.

    Raises:
        ChatuiError: ``url`` is not a server address.
    """
    server = _known_or_new(url, settings)
    if server in settings.servers:
        return settings
    return structs.replace(settings, servers=(server, *settings.servers))


def server_name(server: Server) -> str:
    """Return the name of a server, or its host and port."""
    return server.name or host_of(base_url(server.url))


def _usual(ports: Iterable[tuple[int, str]]) -> tuple[Server, ...]:
    """Return servers for the local ``ports``."""
    return tuple(Server(url=f"http://127.0.0.1:{port}", name=name) for port, name in ports)


def _known(settings: Settings) -> tuple[Server, ...]:
    return (*filter(_address, settings.servers), *_usual(USUAL_PORTS))


def _known_or_new(url: str, settings: Settings) -> Server:
    """Return the server of the settings with this address, else a new one."""
    wanted = base_url(url)
    return next((one for one in _known(settings) if _address(one) == wanted), Server(url=url))


def _address(server: Server) -> str:
    """Return the base URL of a server; "" if its address is invalid."""
    try:
        return base_url(server.url)
    except ChatuiError:
        return ""


def _default_format(server: Server) -> str:
    return CHAT_TEMPLATE if server.api == "chat" else PLAIN_TEXT_FORMAT


def spec_for(server: Server | str, model: str = "", *, format: str | None = None) -> ModelSpec:
    """Return the spec of ``model`` on ``server``.

    Args:
        model: id of the model on the server; "" for the first one in its list.
        format: prompt format; None takes the server's chat API, or plain text if the settings
            choose its completions API.

    Raises:
        ChatuiError: the address of the server is invalid.
    """
    server = Server(url=server) if isinstance(server, str) else server
    name = server_name(server)
    return ModelSpec(
        name=f"{name}:{model}" if model else name,
        path=model,
        backend="openai",
        format=format or _default_format(server),
        server=base_url(server.url),
        key_env=server.key_env,
    )
