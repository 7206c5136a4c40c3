"""API keys: from the environment or the system's keyring, and never anywhere else."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from chatui.errors import ChatuiError
from chatui.locales import say

SERVICE = "chatui"
"""The keyring's service; the user name in it is the server's base URL or its host and port."""

_KEYRING_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Key:
    """An API key that does not show itself: ``repr`` names only its source."""

    value: str = field(repr=False)
    source: str

    def hide_in(self, text: str) -> str:
        """``text`` with every occurrence of the key struck out."""
        return text.replace(self.value, "•••") if self.value else text


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
