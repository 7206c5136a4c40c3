"""The interface of a model hub, the files it lists, and the sentences for its errors."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from chatui.errors import ChatuiError
from chatui.locales import say, system_reason
from chatui.text import in_quotes, one_line

Source = Literal["hf", "modelscope"]

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_LONGEST_REASON = 160


@dataclass(frozen=True)
class ListedFile:
    """A file as a hub lists it.

    Attributes:
        path: path in the repository, with "/" as separator.
        size_bytes: size of the file.
        digest: hexadecimal SHA-256 of its content, or SHA-1 of its git blob.
    """

    path: str
    size_bytes: int
    digest: str


@dataclass(frozen=True)
class RepositoryListing:
    """A repository as a hub lists it.

    Attributes:
        revision: requested branch, tag or commit.
        commit: current commit of the revision; the revision itself if the hub does not tell.
        config: the hub's excerpt of the model's config.json; may be empty.
    """

    hub_id: str
    revision: str
    commit: str
    files: tuple[ListedFile, ...]
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedFile:
    """A file to fetch, with its paths on this disk.

    Attributes:
        listed: the file as the hub lists it.
        url: address of its content.
        content: path of the complete content.
        pointer: path that programs read: a link to ``content``, or the same path.
        lock: path of the lock that is held while it is fetched.
    """

    listed: ListedFile
    url: str
    content: Path
    pointer: Path
    lock: Path

    @property
    def partial(self) -> Path:
        """Path of the received part."""
        return self.content.with_name(f"{self.content.name}.incomplete")

    @property
    def is_complete(self) -> bool:
        """Whether the complete content is on this disk, by its size."""
        return _size(self.content) == self.listed.size_bytes or self.is_linked

    @property
    def is_linked(self) -> bool:
        """Whether ``pointer`` leads to the complete content."""
        return _size(self.pointer) == self.listed.size_bytes

    @property
    def kept_bytes(self) -> int:
        """Bytes that need not be fetched again."""
        if self.is_complete:
            return self.listed.size_bytes
        kept = max(_size(self.partial), 0)
        return kept if kept <= self.listed.size_bytes else 0


@dataclass(frozen=True)
class RepositoryPlan:
    """The files to fetch from one repository.

    Attributes:
        hub_id: "owner/name".
        folder: folder of the files for programs.
        files: in the order in which they are started.
        reference: file in the cache that holds the commit of a branch; None if there is none.
        commit: commit to write into ``reference``.
    """

    hub: Hub
    hub_id: str
    folder: Path
    files: tuple[PlannedFile, ...]
    reference: Path | None = None
    commit: str = ""


class RepositoryUnavailable(ChatuiError):
    """The repository does not exist or this user may not read it; a copy may be available."""


class Hub(ABC):
    """A model hub.

    Attributes:
        title: shown name.
        endpoint: address, without "/" at the end.
    """

    source: ClassVar[Source]
    title: ClassVar[str]
    endpoint: str

    @abstractmethod
    def listing(self, hub_id: str, revision: str) -> RepositoryListing:
        """List the files of a repository.

        Args:
            revision: branch, tag or commit; "" for the default branch.

        Raises:
            ChatuiError: the repository does not exist or is private, or the hub cannot be reached.
        """

    @abstractmethod
    def plan_files(self, listing: RepositoryListing, files: Sequence[ListedFile]) -> RepositoryPlan:
        """Return the files with their paths in the hub's cache on this disk."""

    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """Return the headers of a request for a file; they contain the user's token."""

    @property
    def address(self) -> str:
        """The endpoint for display, without a password."""
        parts = urlsplit(self.endpoint)
        return parts._replace(netloc=self.host).geturl()

    @property
    def host(self) -> str:
        """Host and port, for display."""
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]

    def error_for(self, error: Exception, hub_id: str, revision: str = "") -> ChatuiError:
        """Return the sentence for an error that the hub's client raised about ``hub_id``."""
        import httpx2

        if isinstance(error, ChatuiError):
            return error
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", getattr(error, "status_code", None))
        if isinstance(status, int):
            return self.http_error(status, getattr(response, "headers", {}), hub_id, revision)
        # modelscope-hub's own errors are also Python's ConnectionError and TimeoutError.
        if isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError):
            return self.network_error(error)
        if isinstance(error, OSError) and error.filename:
            # For example, there is a file in place of the folder with the token.
            file = os.fsdecode(error.filename)
            return ChatuiError(say("catalog.unreadable", file=file, reason=error))
        return ChatuiError(say("fetching.no_hub", endpoint=self.address))

    def http_error(
        self,
        status: int,
        headers: Mapping[str, str],
        hub_id: str,
        revision: str = "",
        path: str = "",
    ) -> ChatuiError:
        """Return the sentence for an HTTP error.

        Hugging Face's headers X-Error-Code and X-Error-Message are more precise than the status. A
        401 without a code means that the repository does not exist or is private.
        """
        code = headers.get("X-Error-Code", "")
        kind: type[ChatuiError] = ChatuiError
        if self.source == "modelscope" and status in (401, 403):
            kind, key = RepositoryUnavailable, "no_access_modelscope"
        elif code == "GatedRepo" or status == 403:
            kind, key = RepositoryUnavailable, "gated"
        elif "Invalid credentials" in headers.get("X-Error-Message", ""):
            key = "wrong_token"
        elif code == "RevisionNotFound":
            key = "no_revision"
        elif code == "EntryNotFound":
            key = "no_file"
        elif status in (401, 404):
            kind, key = RepositoryUnavailable, "not_found"
        else:
            key = "too_many" if status == 429 else "server_error"
        hub = {"title": self.title, "host": self.host, "endpoint": self.address}
        request = {"hub_id": hub_id, "revision": revision, "path": path}
        return kind(say(f"fetching.{key}", status=status, **hub, **request))

    def network_error(self, error: BaseException) -> ChatuiError:
        """Return the sentence for a hub that cannot be reached or whose response breaks off."""
        import httpx2

        key = "fetching.proxy" if isinstance(error, httpx2.ProxyError) else "fetching.unreachable"
        other = "--from modelscope" if self.source == "hf" else "--from hf"
        return ChatuiError(say(key, host=self.host, reason=_reason(error), other=other))


def checked_mirror(url: str) -> str:
    """Check a mirror's address and remove "/" at its end.

    Raises:
        ChatuiError: it is not an http or https address.
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


def disk_error(error: OSError, path: Path) -> ChatuiError:
    """Return the sentence for a file that cannot be written."""
    if error.errno in _NO_ROOM:
        return ChatuiError(say("fetching.disk_full", path=path))
    return ChatuiError(say("conversation.file_unwritable", path=path, reason=error))


def _reason(error: BaseException) -> str:
    """Return the message of the first error in a chain of causes."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    message = system_reason(error) if isinstance(error, OSError) else str(error)
    return one_line(message, _LONGEST_REASON).rstrip(".") or type(error).__name__


def _size(file: Path) -> int:
    """Return the size in bytes; -1 if there is no file."""
    try:
        return file.stat().st_size
    except OSError:
        return -1
