"""Download one file from a hub: resume it, check its hash, and repeat it once if it is damaged."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from chatui.catalog.fetching.hub import PlannedFile, RepositoryPlan, disk_error
from chatui.errors import ChatuiError
from chatui.locales import say

if TYPE_CHECKING:
    import httpx2
    from filelock import BaseFileLock

_TRIES = 5
_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_LOCK_POLL_SECONDS = 0.2
CONNECT_SECONDS = 10.0
STALL_SECONDS = 20.0
"""Seconds without a byte after which a request is repeated."""
_READ_BACK_BYTES = 1 << 20
_SHA256_DIGITS = 64
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP status codes after which a request is repeated."""


class FetchCancelled(ChatuiError):
    """The fetch was cancelled; the received bytes are kept."""


@dataclass
class Transfer:
    """The download of one file of a repository.

    Attributes:
        stopped: set from any thread to stop the download and keep the received bytes.
        note: called with a sentence for each fault that was recovered from.
        done_bytes: bytes on this disk; written only by the thread of ``run``.
        received_bytes: bytes received over the network, including discarded ones; written only by
            the thread of ``run``.
    """

    file: PlannedFile
    repository: RepositoryPlan
    stopped: threading.Event
    note: Callable[[str], None]
    done_bytes: int = 0
    received_bytes: int = 0
    _lock: BaseFileLock | None = None

    def run(self) -> None:
        """Fetch the file, or wait while another process fetches it.

        Raises:
            FetchCancelled: ``stopped`` was set.
            ChatuiError: the file cannot be fetched or written.
        """
        self.done_bytes = self.file.kept_bytes
        try:
            for folder in (self.file.content.parent, self.file.lock.parent):
                folder.mkdir(parents=True, exist_ok=True)
            self._lock = self._take_lock()
            try:
                if not self.file.is_complete:
                    self._fetch()
            finally:
                self.release_lock()
        except OSError as error:
            raise disk_error(error, self.file.content.parent) from error
        self.done_bytes = self.file.listed.size_bytes

    def release_lock(self) -> None:
        """Release the lock; call it while ``run`` is blocked only after ``stopped`` was set."""
        if self._lock is not None:
            with suppress(OSError):
                self._lock.release(force=True)

    def _take_lock(self) -> BaseFileLock:
        """Acquire the lock shared with huggingface_hub; report the holder's progress meanwhile."""
        from filelock import FileLock, SoftFileLock, Timeout

        # Not bound to this thread, which cannot release it while it hangs in a dead connection.
        lock: BaseFileLock = FileLock(self.file.lock, mode=0o664, thread_local=False)
        while True:
            self._check_stopped()
            try:
                lock.acquire(timeout=_LOCK_POLL_SECONDS)
                return lock
            except Timeout:
                self.done_bytes = self.file.kept_bytes
            except NotImplementedError:
                # The file system does not support locks.
                lock = SoftFileLock(self.file.lock, mode=0o664, thread_local=False)

    def _fetch(self) -> None:
        listed = self.file.listed
        for is_last in (False, True):
            if self._receive() == listed.digest:
                self.file.partial.replace(self.file.content)
                return
            self.file.partial.unlink(missing_ok=True)
            self.done_bytes = 0
            if not is_last:
                self.note(say("fetching.corrupted", path=listed.path))
        raise self._file_error("corrupted_again")

    def _receive(self) -> str:
        """Complete the partial file, with retries, and return its hash.

        After a broken connection, only tries that received nothing count against the limit.
        """
        import httpx2

        with self.file.partial.open("ab+") as stream:
            partial = _PartialFile(stream, self.file)
            for _ in partial.read_back():
                self._check_stopped()
            tries = 0
            while partial.size < self.file.listed.size_bytes:
                before = partial.size
                try:
                    failure, wait = self._receive_once(partial)
                    tries += 1
                except httpx2.TransportError as error:
                    failure, wait = self.repository.hub.network_error(error), _WAIT_SECONDS
                    tries = 0 if partial.size > before else tries + 1
                except (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError) as error:
                    raise self.repository.hub.error_for(error, self.repository.hub_id) from error
                if partial.size < self.file.listed.size_bytes:
                    if tries >= _TRIES:
                        raise failure
                    self.stopped.wait(wait)
                    self._check_stopped()
        return partial.hash()

    def _receive_once(self, partial: _PartialFile) -> tuple[ChatuiError, float]:
        """Request the missing bytes and write them.

        Returns:
            The error if the file is still incomplete, and the seconds to wait before the next try.

        Raises:
            httpx2.TransportError: the connection broke.
            ChatuiError: another try would fail too.
        """
        import httpx2
        from huggingface_hub import get_session

        hub = self.repository.hub
        headers = {**hub.headers(), "Accept-Encoding": "identity"}
        if partial.size:
            headers["Range"] = f"bytes={partial.size}-"
        timeout = httpx2.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS)
        with get_session().stream(
            "GET", self.file.url, headers=headers, follow_redirects=True, timeout=timeout
        ) as response:
            if fault := self._response_fault(response, partial):
                return fault
            encoded = response.headers.get("Content-Encoding", "identity") != "identity"
            for chunk in response.iter_bytes() if encoded else response.iter_raw():
                self._check_stopped()
                written = partial.write(chunk)
                self.received_bytes += len(chunk)
                self.done_bytes = partial.size
                if written < len(chunk):
                    break
        return self._file_error("fell_short"), 0.0

    def _response_fault(
        self, response: httpx2.Response, partial: _PartialFile
    ) -> tuple[ChatuiError, float] | None:
        """Check a response; return or raise its fault like :meth:`_receive_once`, or return None.

        If the response is the whole file, the received part is discarded.
        """
        status = response.status_code
        if status >= 400 and status != 416:
            hub, hub_id = self.repository.hub, self.repository.hub_id
            failure = hub.http_error(status, response.headers, hub_id, path=self.file.listed.path)
            if status in _RETRYABLE:
                return failure, _retry_after(response)
            raise failure
        is_rest = status == 206 and partial.size > 0
        begin = f"bytes {partial.size}-"
        if is_rest and response.headers.get("Content-Range", "").startswith(begin):
            return None
        partial.clear()
        self.done_bytes = 0
        return (self._file_error("fell_short"), 0.0) if is_rest or status == 416 else None

    def _file_error(self, key: str) -> ChatuiError:
        path, endpoint = self.file.listed.path, self.repository.hub.address
        return ChatuiError(say(f"fetching.{key}", path=path, endpoint=endpoint))

    def _check_stopped(self) -> None:
        if self.stopped.is_set():
            raise FetchCancelled(say("fetching.stopped"))


class _PartialFile:
    """The received part of a file, with a running hash.

    Attributes:
        size: bytes received.
    """

    def __init__(self, stream: BinaryIO, file: PlannedFile) -> None:
        self._stream = stream
        self._listed = file.listed
        self.size = 0
        self._digest = self._new_digest()

    def read_back(self) -> Iterator[None]:
        """Hash the bytes of an earlier run, in steps; discard them if they exceed the file."""
        self._stream.seek(0)
        while block := self._stream.read(_READ_BACK_BYTES):
            self._digest.update(block)
            self.size += len(block)
            yield
        if self.size > self._listed.size_bytes:
            self.clear()

    def write(self, content: bytes) -> int:
        """Append ``content`` up to the file's size; return the number of appended bytes."""
        part = content[: self._listed.size_bytes - self.size]
        self._digest.update(part)
        self._stream.write(part)
        self.size += len(part)
        return len(part)

    def clear(self) -> None:
        if self.size:
            self._stream.truncate(0)
            self.size = 0
            self._digest = self._new_digest()

    def hash(self) -> str:
        return self._digest.hexdigest()

    def _new_digest(self) -> hashlib._Hash:
        if len(self._listed.digest) == _SHA256_DIGITS:
            return hashlib.sha256()
        # A git blob starts with a header (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
        return hashlib.sha1(b"blob %d\0" % self._listed.size_bytes, usedforsecurity=False)


def _retry_after(response: httpx2.Response) -> float:
    """Return the seconds to wait by the header Retry-After, 30 at most."""
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_WAIT_SECONDS) if seconds.isdigit() else _WAIT_SECONDS
