"""Carry out a plan: several files at once, one progress, cancellable from any thread."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from chatui.catalog.fetching.hub import PlannedFile, RepositoryPlan, Source, disk_error
from chatui.catalog.fetching.planning import FetchPlan, plan
from chatui.catalog.fetching.transfer import FetchCancelled, Transfer
from chatui.locales import say
from chatui.settings import Settings

_AT_ONCE = 8
_TELL_SECONDS = 0.1
_SPEED_WINDOW_SECONDS = 8.0
_GOODBYE_SECONDS = 1.0


@dataclass(frozen=True)
class FetchProgress:
    """How far a fetch is; sent several times a second.

    Attributes:
        done_bytes: bytes on this disk, those from before included.
        total_bytes: of all files.
        bytes_per_second: over the last seconds; 0 until a byte is received.
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
    """A sentence on a fault that was recovered from."""

    sentence: str


@dataclass(frozen=True)
class FetchDone:
    """The end of a fetch: all files are complete.

    Attributes:
        folders: where the files of each repository are.
        received_bytes: bytes that came over the network this time.
        seconds: from the first request for a file on.
    """

    folders: tuple[Path, ...]
    received_bytes: int
    seconds: float


FetchEvent: TypeAlias = FetchProgress | FetchNote | FetchDone


class Fetch:
    """Fetches what a plan says; ``events`` once, ``cancel`` from any thread."""

    def __init__(self, plan: FetchPlan) -> None:
        self.plan = plan
        self._stopped = threading.Event()
        self._cancelled = False
        self._failure: Exception | None = None
        self._notes: deque[str] = deque()
        self._transfers: list[Transfer] = []
        self._waiting: deque[Transfer] = deque()
        self._threads: list[threading.Thread] = []
        self._seen: deque[tuple[float, int]] = deque()

    def cancel(self) -> None:
        """End the fetch; received bytes are kept, and ``events`` raises FetchCancelled."""
        self._cancelled = True
        self._stopped.set()

    def events(self) -> Generator[FetchEvent, None, None]:
        """Fetch; blocks between events for a tenth of a second at most.

        Raises:
            FetchCancelled: ``cancel`` was called.
            ChatuiError: a file could not be fetched or written; the others are kept.
        """
        began = time.monotonic()
        try:
            self._begin()
            self._seen.append((began, 0))
            while self._is_running():
                yield from self._pending_notes()
                yield self._progress()
            yield from self._pending_notes()
            if self._failure:
                raise self._failure
            if self._cancelled:
                raise FetchCancelled(say("fetching.stopped"))
            for repository in self.plan.repositories:
                _link_repository(repository)
            yield self._progress()
            yield FetchDone(
                folders=tuple(repository.folder for repository in self.plan.repositories),
                received_bytes=self._received_bytes,
                seconds=time.monotonic() - began,
            )
        finally:
            self._end()

    def _begin(self) -> None:
        self._transfers = [
            Transfer(file, repository, self._stopped, self._notes.append)
            for repository in self.plan.repositories
            for file in repository.files
            if not file.is_complete
        ]
        self._waiting.extend(self._transfers)
        for number in range(min(_AT_ONCE, len(self._transfers))):
            # A daemon, so that a thread in a dead connection does not keep the program from ending.
            thread = threading.Thread(target=self._work, name=f"fetch-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while not self._stopped.is_set():
            try:
                transfer = self._waiting.popleft()
            except IndexError:
                return
            try:
                transfer.run()
            except FetchCancelled:
                return
            except Exception as error:
                self._failure = self._failure or error
                self._stopped.set()

    def _is_running(self) -> bool:
        """Whether a transfer still runs, after waiting a moment for its end."""
        deadline = time.monotonic() + _TELL_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return not self._stopped.is_set() and any(thread.is_alive() for thread in self._threads)

    def _end(self) -> None:
        """Stop the transfers, and give them a moment to close their files."""
        self._stopped.set()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        for transfer in self._transfers:
            transfer.release_lock()

    def _pending_notes(self) -> Iterator[FetchNote]:
        while self._notes:
            yield FetchNote(self._notes.popleft())

    @property
    def _received_bytes(self) -> int:
        return sum(transfer.received_bytes for transfer in self._transfers)

    def _progress(self) -> FetchProgress:
        running = {transfer.file: transfer.done_bytes for transfer in self._transfers}
        done = sum(running.get(file, file.listed.size_bytes) for file in self.plan.files)
        total, rate = self.plan.total_bytes, self._bytes_per_second()
        return FetchProgress(done, total, rate, (total - done) / rate if rate else None)

    def _bytes_per_second(self) -> float:
        """The speed over the last seconds."""
        now, received = time.monotonic(), self._received_bytes
        self._seen.append((now, received))
        while len(self._seen) > 2 and now - self._seen[0][0] > _SPEED_WINDOW_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return (received - before) / (now - then) if now > then else 0.0


def _link_repository(repository: RepositoryPlan) -> None:
    """Link a repository's complete files at the paths where programs look for them.

    This comes last, so that no program sees half a model, and an older complete revision stays in
    use until the newer one is complete.
    """
    try:
        for file in repository.files:
            if file.pointer != file.content and not file.is_linked:
                _link(file)
        if repository.reference:
            repository.reference.parent.mkdir(parents=True, exist_ok=True)
            draft = repository.reference.with_name(f"{repository.reference.name}.{uuid4().hex[:8]}")
            draft.write_text(repository.commit, encoding="utf-8")
            draft.replace(repository.reference)
    except OSError as error:
        raise disk_error(error, repository.folder) from error


def _link(file: PlannedFile) -> None:
    """A relative link to the content; the content itself on file systems without links."""
    file.pointer.parent.mkdir(parents=True, exist_ok=True)
    file.pointer.unlink(missing_ok=True)
    target = os.path.relpath(file.content, file.pointer.parent)
    try:
        file.pointer.symlink_to(target)
    except FileExistsError:
        # Another process that fetches the same has just put it there.
        return
    except (OSError, NotImplementedError):
        # Windows lets few users make symbolic links, and all users make hard links.
        try:
            os.link(file.content, file.pointer)
        except OSError:
            file.content.replace(file.pointer)


async def fetch(
    name: str, settings: Settings, *, source: Source | None = None, mirror: str = ""
) -> AsyncIterator[FetchPlan | FetchEvent]:
    """Plan and fetch in a thread, for a screen: the plan first, then events as they come.

    Closing the iterator, or cancelling its task, cancels the fetch.

    Raises:
        ChatuiError: as :func:`plan` and :meth:`Fetch.events` do.
    """
    made = await asyncio.to_thread(partial(plan, name, settings, source=source, mirror=mirror))
    yield made
    running = Fetch(made)
    events = running.events()
    try:
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event
    finally:
        running.cancel()
        # After a cancelled step its thread is still in the generator, and ends it.
        with suppress(ValueError):
            await asyncio.to_thread(events.close)
