"""The address of a server that a user types, and the API key for it.

Keys come from the environment or the system's keyring, and from nowhere else.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line

# What people copy out of a curl command.
_ENDPOINTS = ("/chat/completions", "/completions", "/models")


def base_url(text: str) -> str:
    """The base URL, e.g. "http://localhost:8000/v1", of what was typed, e.g. "localhost:8000".

    A path that is there is kept (not every server lives under ``/v1``); if there is none, it is
    ``/v1``.

    Raises:
        ChatuiError: this is no address of a server, or a key or password is part of it.
    """
    typed = text.strip()
    parts = _split(typed if "://" in typed else f"http://{typed}")
    if parts is None or any(character.isspace() for character in typed):
        raise ChatuiError(say("backends.not_a_url", url=_without_secrets(typed)))
    if parts.username or parts.password or parts.query:
        raise ChatuiError(say("backends.key_in_url", url=_without_secrets(typed)))
    path = parts.path.rstrip("/")
    for endpoint in _ENDPOINTS:
        path = path.removesuffix(endpoint)
    return urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))


def host_of(base: str) -> str:
    """Host and port, for display."""
    return urlsplit(base).netloc


def is_loopback(base: str) -> bool:
    """Whether the server runs on this machine."""
    return is_loopback_host(urlsplit(base).hostname or "")


def is_loopback_host(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(base: str) -> str:
    """Host and port of the proxy of the environment that requests go through; "" for none.

    Without its user and password, for display.
    """
    parts = urlsplit(base)
    if is_loopback(base) or proxy_bypass(parts.hostname or ""):
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return proxy.rpartition("://")[2].rpartition("@")[2].rstrip("/")


def _split(url: str) -> SplitResult | None:
    """The parts of an http(s) URL with a host; None if it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is no number or out of range
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts


def _without_secrets(url: str) -> str:
    """The URL as it may be shown: without user, password and query, on one line, not too long."""
    head, mark, rest = url.partition("://")
    if not mark:
        head, rest = "", url
    rest = rest.split("?")[0].rpartition("@")[2]
    return one_line(f"{head}{mark}{rest}", 100)


SERVICE = "chatui"
"""The keyring's service; the user name in it is the server's base URL or its host and port."""

_KEYRING_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """An API key that does not show itself: ``repr`` names only its source."""

    value: str = field(repr=False)
    source: str


def from_environment(base: str, variable: str = "") -> Key | None:
    """The key in the environment variable that the settings name for this server.

    ``OPENAI_API_KEY`` is used for OpenAI's own host alone: no other server shall see that key
    unless the settings say so.

    Raises:
        ChatuiError: what is in the variable is no key.
    """
    if not variable and urlsplit(base).hostname == "api.openai.com":
        variable = "OPENAI_API_KEY"
    value = os.environ.get(variable, "").strip() if variable else ""
    return _checked(Key(value, variable)) if value else None


async def from_keyring(base: str) -> Key | None:
    """The key that the keyring holds for this server, under its base URL or its host and port.

    The keyring may ask the user to unlock it, so it is asked in a thread and given up in time.

    Raises:
        ChatuiError: what the keyring holds is no key.
    """
    try:
        return await asyncio.wait_for(asyncio.to_thread(_ask_keyring, base), _KEYRING_SECONDS)
    except (asyncio.TimeoutError, TimeoutError):
        _log.warning("the keyring did not answer in %.0f s", _KEYRING_SECONDS)
        return None


def _checked(key: Key) -> Key:
    """The key, if a header can carry it: the HTTP client's own complaint would repeat it."""
    if all("!" <= character <= "~" for character in key.value):
        return key
    raise ChatuiError(say("backends.no_key", source=key.source))


def _ask_keyring(base: str) -> Key | None:
    import keyring
    from keyring.errors import KeyringError

    try:
        for name in (base, urlsplit(base).netloc):
            value = keyring.get_password(SERVICE, name)
            if value and value.strip():
                return _checked(Key(value.strip(), "keyring"))
    except (KeyringError, RuntimeError, OSError) as error:
        _log.info("no keyring: %s", error)
    return None
