"""Fetch the files of a plan in parallel, with one progress; any thread can cancel it."""

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

_THREADS = 8
_EVENT_SECONDS = 0.1
_SPEED_WINDOW_SECONDS = 8.0
_JOIN_SECONDS = 1.0


@dataclass(frozen=True)
class FetchProgress:
    """The progress of a fetch; sent several times a second.

    Attributes:
        done_bytes: bytes on this disk, including earlier downloads.
        total_bytes: size of all files.
        bytes_per_second: average over the last eight seconds.
        seconds_left: at that speed; None if nothing is received.
    """

    done_bytes: int
    total_bytes: int
    bytes_per_second: float = 0.0
    seconds_left: float | None = None

    @property
    def share(self) -> float:
        """The part of all bytes that is done, from 0 to 1."""
        return self.done_bytes / self.total_bytes if self.total_bytes else 1.0


@dataclass(frozen=True)
class FetchNote:
    """A sentence about a fault that was recovered from."""

    sentence: str


@dataclass(frozen=True)
class FetchDone:
    """The end of a fetch: all files are complete.

    Attributes:
        folders: folder of each repository's files.
        received_bytes: bytes received over the network by this fetch.
        seconds: duration.
    """

    folders: tuple[Path, ...]
    received_bytes: int
    seconds: float


FetchEvent: TypeAlias = FetchProgress | FetchNote | FetchDone


class Fetch:
    """A fetch of the files in a plan.

    Iterate over ``events`` once; call ``cancel`` from any thread.
    """

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
        """Stop the fetch and keep the received bytes; ``events`` raises FetchCancelled."""
        self._cancelled = True
        self._stopped.set()

    def events(self) -> Generator[FetchEvent, None, None]:
        """Fetch the files; blocks for a tenth of a second at most between two events.

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
        for number in range(min(_THREADS, len(self._transfers))):
            # A daemon thread: a dead connection must not keep the program from exiting.
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
        """Wait briefly for the threads; return whether one of them still runs."""
        self._join(_EVENT_SECONDS)
        return not self._stopped.is_set() and any(thread.is_alive() for thread in self._threads)

    def _end(self) -> None:
        """Stop the transfers and give them a moment to close their files."""
        self._stopped.set()
        self._join(_JOIN_SECONDS)
        for transfer in self._transfers:
            transfer.release_lock()

    def _join(self, seconds: float) -> None:
        """Wait for all threads, for ``seconds`` altogether at most."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

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
        now, received = time.monotonic(), self._received_bytes
        self._seen.append((now, received))
        while len(self._seen) > 2 and now - self._seen[0][0] > _SPEED_WINDOW_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return (received - before) / (now - then) if now > then else 0.0


def _link_repository(repository: RepositoryPlan) -> None:
    """Link a repository's files into its snapshot once all of them are complete.

    Until then, programs see no incomplete model and keep using an older revision.
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
    """Make ``pointer`` a relative link to the content, or move the content if links fail."""
    file.pointer.parent.mkdir(parents=True, exist_ok=True)
    file.pointer.unlink(missing_ok=True)
    target = os.path.relpath(file.content, file.pointer.parent)
    try:
        file.pointer.symlink_to(target)
    except FileExistsError:
        # Another process that fetches the same file was faster.
        return
    except (OSError, NotImplementedError):
        # On Windows only some users may make symbolic links, but all may make hard links.
        try:
            os.link(file.content, file.pointer)
        except OSError:
            file.content.replace(file.pointer)


async def fetch(
    name: str, settings: Settings, *, source: Source | None = None, mirror: str = ""
) -> AsyncIterator[FetchPlan | FetchEvent]:
    """Plan and fetch in a thread; yields the plan first, then the events.

    Closing the iterator, or cancelling its task, cancels the fetch.

    Raises:
        ChatuiError: see :func:`plan` and :meth:`Fetch.events`.
    """
    fetch_plan = await asyncio.to_thread(
        partial(plan, name, settings, source=source, mirror=mirror)
    )
    yield fetch_plan
    running = Fetch(fetch_plan)
    events = running.events()
    try:
        while (event := await asyncio.to_thread(next, events, None)) is not None:
            yield event
    finally:
        running.cancel()
        # After a cancelled step, its thread is still running the generator and will close it.
        with suppress(ValueError):
            await asyncio.to_thread(events.close)
