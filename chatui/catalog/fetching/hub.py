"""What a hub must be able to do, and where its repositories lie on this disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from chatui.catalog.fetching.values import ListedFile, Listing, RepositoryPlan
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import in_quotes

if TYPE_CHECKING:
    import httpx2


class Hub(Protocol):
    """A hub of models; its methods talk over the network."""

    @property
    def title(self) -> str:
        """As people call it."""
        ...

    @property
    def endpoint(self) -> str:
        """Its address, without "/" at the end."""
        ...

    def listing(self, hub_id: str, revision: str) -> Listing:
        """The files of a repository at ``revision`` ("" for the default one).

        Raises:
            ChatuiError: the repository is not there or not for us, or the hub cannot be reached.
        """
        ...

    def placed(self, listing: Listing, files: Sequence[ListedFile]) -> RepositoryPlan:
        """The files with their places in the hub's own cache on this disk."""
        ...

    def client(self) -> httpx2.Client:
        """What files are fetched with."""
        ...

    def headers(self) -> Mapping[str, str]:
        """Sent with each request for a file; they carry the user's token."""
        ...


def shown(endpoint: str) -> str:
    """An address as it may be shown: without the password that it may carry."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def checked_mirror(url: str) -> str:
    """A mirror's address, without "/" at the end.

    Raises:
        ChatuiError: it is no http or https address.
    """
    address = url.strip()
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or not address.isprintable() or " " in address:
        raise ChatuiError(say("fetching.no_mirror", url=in_quotes(url)))
    return address.rstrip("/")
