"""What is to be fetched, and what is told while it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from chatui.errors import ChatuiError

Source = Literal["hf", "modelscope"]


@dataclass(frozen=True)
class ListedFile:
    """A file as a hub lists it.

    Attributes:
        path: below the repository, with "/" between the steps.
        size_bytes: of the whole file.
        sha256: of its content; empty if the hub keeps it in git.
        git_blob: SHA-1 of git's blob; empty if the hub gives the SHA-256.
    """

    path: str
    size_bytes: int
    sha256: str = ""
    git_blob: str = ""


@dataclass(frozen=True)
class Listing:
    """A repository as a hub lists it.

    Attributes:
        revision: the branch, tag or commit that was asked for.
        commit: what the revision stands for now; the revision itself where the hub does not say.
        config: what the hub tells of the model's config.json; empty if it tells nothing.
    """

    hub_id: str
    revision: str
    commit: str
    files: tuple[ListedFile, ...]
    config: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WantedFile:
    """A file with the places that it takes on this disk.

    Attributes:
        listed: what the hub says of it.
        url: where its content comes from.
        content: where the content lies when all of it is there.
        pointer: where programs look for it: a link to ``content``, or the same path.
        lock: held while it is fetched.
    """

    listed: ListedFile
    url: str
    content: Path
    pointer: Path
    lock: Path

    @property
    def partial(self) -> Path:
        """What is there of it before all of it is."""
        return self.content.with_name(f"{self.content.name}.incomplete")

    @property
    def is_complete(self) -> bool:
        """Whether all of it is there, as far as its size tells."""
        return _size(self.content) == self.listed.size_bytes or self.is_placed

    @property
    def is_placed(self) -> bool:
        """Whether programs find all of it."""
        return _size(self.pointer) == self.listed.size_bytes

    @property
    def kept_bytes(self) -> int:
        """How much of it need not be fetched again."""
        if self.is_complete:
            return self.listed.size_bytes
        kept = max(_size(self.partial), 0)
        return kept if kept <= self.listed.size_bytes else 0


@dataclass(frozen=True)
class RepositoryPlan:
    """What of one repository is fetched.

    Attributes:
        hub_id: "owner/name".
        source: the hub it comes from.
        endpoint: the hub's address.
        folder: where programs find the files.
        files: in the order in which they are begun.
        reference: file that says which commit a branch stands for; None if there is none.
        commit: written into ``reference``.
    """

    hub_id: str
    source: Source
    endpoint: str
    folder: Path
    files: tuple[WantedFile, ...]
    reference: Path | None = None
    commit: str = ""


@dataclass(frozen=True)
class FetchPlan:
    """All that is fetched for one name.

    Attributes:
        name: what the user asked for.
        repositories: one for each hub's repository.
        notes: sentences that the user should read first.
    """

    name: str
    repositories: tuple[RepositoryPlan, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[WantedFile, ...]:
        return tuple(file for repository in self.repositories for file in repository.files)

    @property
    def total_bytes(self) -> int:
        return sum(file.listed.size_bytes for file in self.files)

    @property
    def kept_bytes(self) -> int:
        """What is already on this disk."""
        return sum(file.kept_bytes for file in self.files)


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is; told several times a second.

    Attributes:
        done_bytes: on this disk, with what was there before.
        total_bytes: of all files.
        bytes_per_second: received over the last seconds; 0 before anything was.
        seconds_left: at that speed; None if nothing comes in.
    """

    done_bytes: int
    total_bytes: int
    bytes_per_second: float = 0.0
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """How much of all bytes is done, from 0 to 1."""
        return self.done_bytes / self.total_bytes if self.total_bytes else 1.0


@dataclass(frozen=True)
class FetchNote:
    """Something that went wrong and was made good, in a sentence."""

    sentence: str


@dataclass(frozen=True)
class Fetched:
    """The end: all is there.

    Attributes:
        folders: where the files of each repository are.
        received_bytes: what came over the network this time.
        seconds: from the first request for a file on.
    """

    folders: tuple[Path, ...]
    received_bytes: int
    seconds: float


FetchEvent: TypeAlias = FetchProgress | FetchNote | Fetched


class FetchStopped(ChatuiError):
    """The fetch was cancelled; what came in so far is kept."""


def _size(file: Path) -> int:
    """Bytes; -1 if there is no file."""
    try:
        return file.stat().st_size
    except OSError:
        return -1
