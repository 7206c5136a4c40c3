"""Server addresses as users type them, and API keys.

Keys come only from the environment or the system's keyring.
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

# Endings of addresses that are copied from curl commands.
_ENDPOINTS = ("/chat/completions", "/completions", "/models")


def base_url(text: str) -> str:
    """Return the base URL, e.g. "http://localhost:8000/v1" for "localhost:8000".

    The default path is ``/v1``; another path is kept.

    Raises:
        ChatuiError: the text is not a server address, or contains a key or password.
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
    """Return host and port, for display."""
    return urlsplit(base).netloc


def is_loopback(base: str) -> bool:
    """True if the server runs on this machine."""
    return is_loopback_host(urlsplit(base).hostname or "")


def is_loopback_host(host: str) -> bool:
    """True if a host name or IP address is a loopback address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxy_of(base: str) -> str:
    """Return host and port of the environment's proxy for ``base``, for display; "" for none.

    User and password are left out.
    """
    parts = urlsplit(base)
    if is_loopback(base) or proxy_bypass(parts.hostname or ""):
        return ""
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all") or ""
    return proxy.rpartition("://")[2].rpartition("@")[2].rstrip("/")


def _split(url: str) -> SplitResult | None:
    """Split an http(s) URL; None if it is not one or has no host."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises if it is not a number or out of range
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    return parts


def _without_secrets(url: str) -> str:
    """Return the URL for display: without user, password and query, on one line, shortened."""
    head, mark, rest = url.partition("://")
    if not mark:
        head, rest = "", url
    rest = rest.split("?")[0].rpartition("@")[2]
    return one_line(f"{head}{mark}{rest}", 100)


SERVICE = "chatui"
"""Service name in the keyring; the user name is the base URL, or host and port."""

_KEYRING_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """An API key; its ``repr`` shows only the source."""

    value: str = field(repr=False)
    source: str


def from_environment(base: str, variable: str = "") -> Key | None:
    """Return the key in the environment variable that the settings name for this server.

    The default is ``OPENAI_API_KEY`` for OpenAI's host, and none for other servers.

    Raises:
        ChatuiError: the value is not a valid key.
    """
    if not variable and urlsplit(base).hostname == "api.openai.com":
        variable = "OPENAI_API_KEY"
    value = os.environ.get(variable, "").strip() if variable else ""
    return _checked(Key(value, variable)) if value else None


async def from_keyring(base: str) -> Key | None:
    """Return the key in the keyring for this server's base URL, or its host and port.

    Runs in a thread with a timeout, because the keyring may ask the user to unlock it.

    Raises:
        ChatuiError: the value is not a valid key.
    """
    try:
        return await asyncio.wait_for(asyncio.to_thread(_ask_keyring, base), _KEYRING_SECONDS)
    except (asyncio.TimeoutError, TimeoutError):
        _log.warning("the keyring did not answer in %.0f s", _KEYRING_SECONDS)
        return None


def _checked(key: Key) -> Key:
    """Raise ChatuiError for a key that a header cannot hold; httpx's error would show the key."""
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
