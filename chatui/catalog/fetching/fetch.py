"""Fetch the files of a plan in parallel, with one progress; any thread can cancel it."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias
from uuid import uuid4

from chatui.catalog.fetching.hub_errors import disk_error
from chatui.catalog.fetching.hubs import HubFile, Repository, Source
from chatui.catalog.fetching.planning import FetchPlan, plan
from chatui.catalog.fetching.transfer import FetchCancelled, Transfer
from chatui.locales import say
from chatui.settings import Settings

_THREADS = 8
_EVENT_SECONDS = 0.1
_SPEED_SAMPLES = 80
"""Samples of the received bytes that the speed is computed from: those of eight seconds."""
_JOIN_SECONDS = 1.0


@dataclass(frozen=True)
class FetchProgress:
    """The progress of a fetch; sent several times a second.

    Attributes:
        done_bytes: bytes on this disk, including earlier downloads.
        total_bytes: size of all files.
        bytes_per_second: average over the last eight seconds.
    """

    done_bytes: int
    total_bytes: int
    bytes_per_second: float

    @property
    def seconds_left(self) -> float | None:
        """The time to the end at this speed; None if nothing is received."""
        missing = self.total_bytes - self.done_bytes
        return missing / self.bytes_per_second if self.bytes_per_second else None

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
        self._failure: Exception | None = None
        self._notes: deque[str] = deque()
        self._transfers: list[Transfer] = []
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SPEED_SAMPLES)

    def cancel(self) -> None:
        """Stop the fetch and keep the received bytes; ``events`` raises FetchCancelled."""
        self._fail(FetchCancelled(say("fetching.stopped")))

    def events(self) -> Generator[FetchEvent, None, None]:
        """Fetch the files; blocks for a tenth of a second at most between two events.

        Raises:
            FetchCancelled: ``cancel`` was called.
            ChatuiError: a file could not be fetched or written; the others are kept.
        """
        began = time.monotonic()
        self._samples.append((began, 0))
        self._transfers = [
            Transfer(file, repository, self._stopped, self._notes.append, file.kept_bytes)
            for repository in self.plan.repositories
            for file in repository.files
            if not file.is_complete
        ]
        # The threads take the transfers from one iterator, which is safe for a list's.
        work = partial(self._work, iter(self._transfers))
        threads: list[threading.Thread] = []
        try:
            for number in range(min(_THREADS, len(self._transfers))):
                # A daemon thread: a dead connection must not keep the program from exiting.
                thread = threading.Thread(target=work, name=f"fetch-{number}", daemon=True)
                thread.start()
                threads.append(thread)
            while any(thread.is_alive() for thread in threads) and not self._stopped.is_set():
                _join(threads, _EVENT_SECONDS)
                yield from self._news()
            if self._failure:
                raise self._failure
            for repository in self.plan.repositories:
                _link_repository(repository)
            yield from self._news()
            folders = tuple(repository.folder for repository in self.plan.repositories)
            yield FetchDone(folders, self._received_bytes, time.monotonic() - began)
        finally:
            # Give the transfers a moment to close their files.
            self._stopped.set()
            _join(threads, _JOIN_SECONDS)
            for transfer in self._transfers:
                transfer.release_lock()

    def _work(self, transfers: Iterator[Transfer]) -> None:
        for transfer in transfers:
            if self._stopped.is_set():
                return
            try:
                transfer.run()
            except Exception as error:
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self._stopped.set()

    @property
    def _received_bytes(self) -> int:
        return sum(transfer.received_bytes for transfer in self._transfers)

    def _news(self) -> Iterator[FetchNote | FetchProgress]:
        while self._notes:
            yield FetchNote(self._notes.popleft())
        missing = sum(each.file.size_bytes - each.done_bytes for each in self._transfers)
        then, before = self._samples[0]
        now, received = time.monotonic(), self._received_bytes
        self._samples.append((now, received))
        rate = (received - before) / (now - then) if now > then else 0.0
        yield FetchProgress(self.plan.total_bytes - missing, self.plan.total_bytes, rate)


def _join(threads: Sequence[threading.Thread], seconds: float) -> None:
    """Wait for all threads, for ``seconds`` altogether at most."""
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0))


def _link_repository(repository: Repository) -> None:
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


def _link(file: HubFile) -> None:
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
) -> AsyncGenerator[FetchPlan | FetchEvent, None]:
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
