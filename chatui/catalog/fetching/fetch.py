"""A plan carried out: several files at once, one progress, cancellable from any thread."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import suppress
from functools import partial
from uuid import uuid4

from chatui.catalog.fetching import failures
from chatui.catalog.fetching.planning import hub_of, plan
from chatui.catalog.fetching.transfer import Transfer
from chatui.catalog.fetching.values import (
    Fetched,
    FetchEvent,
    FetchNote,
    FetchPlan,
    FetchProgress,
    FetchStopped,
    RepositoryPlan,
    Source,
    WantedFile,
)
from chatui.locales import say
from chatui.settings import Settings

_AT_ONCE = 8
_TELL_SECONDS = 0.1
_SPEED_WINDOW_SECONDS = 8.0
_GOODBYE_SECONDS = 1.0


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

    def cancel(self) -> None:
        """End the fetch; what came in is kept, and ``events`` raises FetchStopped."""
        self._cancelled = True
        self._stopped.set()

    def events(self) -> Generator[FetchEvent, None, None]:
        """Fetch; blocks between events for a tenth of a second at most.

        Raises:
            FetchStopped: ``cancel`` was called.
            ChatuiError: a file could not be fetched or written; the others are kept.
        """
        began = time.monotonic()
        try:
            self._begin()
            speed = _Speed()
            while self._is_running():
                yield from self._told()
                yield self._progress(speed)
            yield from self._told()
            if self._failure:
                raise self._failure
            if self._cancelled:
                raise FetchStopped(say("fetching.stopped"))
            for repository in self.plan.repositories:
                _place(repository)
            yield self._progress(speed)
            yield Fetched(
                folders=tuple(repository.folder for repository in self.plan.repositories),
                received_bytes=self._received_bytes,
                seconds=time.monotonic() - began,
            )
        finally:
            self._end()

    def _begin(self) -> None:
        for repository in self.plan.repositories:
            missing = [file for file in repository.files if not file.is_complete]
            if not missing:
                continue
            where = hub_of(repository.source, repository.endpoint)
            client, headers = where.client(), where.headers()
            self._transfers += [
                Transfer(
                    file=file,
                    hub=where,
                    hub_id=repository.hub_id,
                    client=client,
                    headers=headers,
                    stopped=self._stopped,
                    note=self._notes.append,
                )
                for file in missing
            ]
        self._waiting.extend(self._transfers)
        for number in range(min(_AT_ONCE, len(self._transfers))):
            # A daemon: a thread that hangs in a dead line must not keep the program from ending.
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
            except FetchStopped:
                return
            except Exception as error:
                self._failure = self._failure or error
                self._stopped.set()

    def _is_running(self) -> bool:
        """Whether anything is still going on, after a moment's wait for its end."""
        deadline = time.monotonic() + _TELL_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return not self._stopped.is_set() and any(thread.is_alive() for thread in self._threads)

    def _end(self) -> None:
        """Stop what still runs, and give it a moment to leave its files in order."""
        self._stopped.set()
        deadline = time.monotonic() + _GOODBYE_SECONDS
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))
        for transfer in self._transfers:
            transfer.release_lock()

    def _told(self) -> Iterator[FetchNote]:
        while self._notes:
            yield FetchNote(self._notes.popleft())

    @property
    def _received_bytes(self) -> int:
        return sum(transfer.progress.received_bytes for transfer in self._transfers)

    def _progress(self, speed: _Speed) -> FetchProgress:
        files = self.plan.files
        running = {transfer.file: transfer.progress for transfer in self._transfers}
        done = sum(f.listed.size_bytes for f in files if f not in running)
        done += sum(progress.done_bytes for progress in running.values())
        rate = speed.after(self._received_bytes)
        total = self.plan.total_bytes
        return FetchProgress(
            done_bytes=done,
            total_bytes=total,
            bytes_per_second=rate,
            seconds_left=(total - done) / rate if rate else None,
        )


class _Speed:
    """Bytes a second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def after(self, received_bytes: int) -> float:
        """The speed, now that so many bytes were received in all."""
        now = time.monotonic()
        self._seen.append((now, received_bytes))
        while len(self._seen) > 2 and now - self._seen[0][0] > _SPEED_WINDOW_SECONDS:
            self._seen.popleft()
        then, before = self._seen[0]
        return (received_bytes - before) / (now - then) if now > then else 0.0


def _place(repository: RepositoryPlan) -> None:
    """Put a repository's files, all of which are there, where programs look for them.

    Only now: a model that is half there is not taken for one, and an older state of it that was
    whole stays in use until the newer one is.
    """
    try:
        for file in repository.files:
            if file.pointer != file.content and not file.is_placed:
                _link(file)
        if repository.reference:
            repository.reference.parent.mkdir(parents=True, exist_ok=True)
            draft = repository.reference.with_name(f"{repository.reference.name}.{uuid4().hex[:8]}")
            draft.write_text(repository.commit, encoding="utf-8")
            draft.replace(repository.reference)
    except OSError as error:
        raise failures.disk_failure(error, repository.folder) from error


def _link(file: WantedFile) -> None:
    """A relative link to the content; if there are no links, the content itself."""
    file.pointer.parent.mkdir(parents=True, exist_ok=True)
    file.pointer.unlink(missing_ok=True)
    target = os.path.relpath(file.content, file.pointer.parent)
    try:
        file.pointer.symlink_to(target)
    except FileExistsError:
        # Another process that fetches the same has just put it there.
        return
    except (OSError, NotImplementedError):
        # Windows lets few people make links; a second name for the same content it lets all.
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
        # Cancelled in mid-step, the thread is still in it and ends it by itself.
        with suppress(ValueError):
            await asyncio.to_thread(events.close)
