"""Download one file from a hub: resume it, check its hash, and repeat it once if it is damaged."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from chatui.catalog.fetching.hub_errors import disk_error, hub_error
from chatui.catalog.fetching.hubs import HubFile, Repository
from chatui.errors import ChatuiError
from chatui.locales import say

if TYPE_CHECKING:
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

    file: HubFile
    repository: Repository
    stopped: threading.Event
    note: Callable[[str], None]
    done_bytes: int
    received_bytes: int = 0
    _lock: BaseFileLock | None = None

    def run(self) -> None:
        """Fetch the file, or wait while another process fetches it.

        Raises:
            FetchCancelled: ``stopped`` was set.
            ChatuiError: the file cannot be fetched or written.
        """
        try:
            for folder in (self.file.content.parent, self.file.lock.parent):
                folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            try:
                if not self.file.is_complete:
                    self._fetch()
            finally:
                self.release_lock()
        except OSError as error:
            raise disk_error(error, self.file.content.parent) from error
        self.done_bytes = self.file.size_bytes

    def release_lock(self) -> None:
        """Release the lock; call it while ``run`` is blocked only after ``stopped`` was set."""
        if self._lock is not None:
            with suppress(OSError):
                self._lock.release(force=True)

    def _take_lock(self) -> None:
        """Acquire the lock shared with huggingface_hub; report the holder's progress meanwhile."""
        from filelock import FileLock, SoftFileLock, Timeout

        kind: type[BaseFileLock] = FileLock
        while True:
            self._check_stopped()
            # Not bound to this thread, which cannot release it while it hangs in a dead connection.
            lock = kind(self.file.lock, mode=0o664, thread_local=False)
            try:
                lock.acquire(timeout=_LOCK_POLL_SECONDS)
            except Timeout:
                self.done_bytes = self.file.kept_bytes
            except NotImplementedError:
                # The file system does not support locks.
                kind = SoftFileLock
            else:
                self._lock = lock
                return

    def _fetch(self) -> None:
        for is_last in (False, True):
            if self._receive() == self.file.digest:
                self.file.partial.replace(self.file.content)
                return
            self.file.partial.unlink(missing_ok=True)
            self.done_bytes = 0
            if not is_last:
                self.note(say("fetching.corrupted", path=self.file.path))
        raise self._file_error("corrupted_again")

    def _receive(self) -> str:
        """Complete the partial file, with retries, and return its hash.

        Only tries that received nothing new count against the limit.
        """
        import httpx2

        wait: float | None = 0.0
        tries = 0
        with self.file.partial.open("ab+") as stream:
            self._read_back(stream)
            most = self.done_bytes
            while self.done_bytes < self.file.size_bytes:
                self.stopped.wait(wait)
                self._check_stopped()
                fault, wait = self._file_error("fell_short"), _WAIT_SECONDS
                try:
                    self._request(stream)
                except (httpx2.HTTPError, httpx2.InvalidURL, ConnectionError) as error:
                    repository, path = self.repository, self.file.path
                    fault = hub_error(repository.hub, error, repository.hub_id, path=path)
                    wait = _seconds_before_retry(error)
                    if wait is None:
                        raise fault from error
                tries = 0 if self.done_bytes > most else tries + 1
                most = max(most, self.done_bytes)
                if tries == _TRIES:
                    raise fault
        return self._hash.hexdigest()

    def _read_back(self, stream: BinaryIO) -> None:
        """Hash the bytes of an earlier run; discard them if they exceed the file."""
        kept, self._hash = 0, self._new_hash()
        stream.seek(0)
        while block := stream.read(_READ_BACK_BYTES):
            self._check_stopped()
            self._hash.update(block)
            kept += len(block)
        self.done_bytes = kept
        if kept > self.file.size_bytes:
            self._restart(stream)

    def _restart(self, stream: BinaryIO) -> None:
        stream.truncate(0)
        self.done_bytes, self._hash = 0, self._new_hash()

    def _request(self, stream: BinaryIO) -> None:
        """Request the missing bytes and append what the server sends, up to the file's size.

        Raises:
            httpx2.HTTPError: the connection broke, or the server refuses.
        """
        import httpx2
        from huggingface_hub import get_session

        headers = {**self.repository.hub.headers(), "Accept-Encoding": "identity"}
        if self.done_bytes:
            headers["Range"] = f"bytes={self.done_bytes}-"
        timeout = httpx2.Timeout(STALL_SECONDS, connect=CONNECT_SECONDS)
        with get_session().stream(
            "GET", self.file.url, headers=headers, follow_redirects=True, timeout=timeout
        ) as response:
            if response.status_code == 416:
                # The server's file is shorter than the listed one.
                return
            response.raise_for_status()
            if not response.headers.get("Content-Range", "").startswith(
                f"bytes {self.done_bytes}-"
            ):
                # The response is the whole file.
                self._restart(stream)
            for chunk in response.iter_bytes():
                self._check_stopped()
                part = chunk[: self.file.size_bytes - self.done_bytes]
                stream.write(part)
                self._hash.update(part)
                self.received_bytes += len(chunk)
                self.done_bytes += len(part)
                if len(part) < len(chunk):
                    return

    def _file_error(self, key: str) -> ChatuiError:
        path, endpoint = self.file.path, self.repository.hub.address
        return ChatuiError(say(f"fetching.{key}", path=path, endpoint=endpoint))

    def _check_stopped(self) -> None:
        if self.stopped.is_set():
            raise FetchCancelled(say("fetching.stopped"))

    def _new_hash(self) -> hashlib._Hash:
        if len(self.file.digest) == _SHA256_DIGITS:
            return hashlib.sha256()
        # A git blob starts with a header (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
        return hashlib.sha1(b"blob %d\0" % self.file.size_bytes, usedforsecurity=False)


def _seconds_before_retry(error: Exception) -> float | None:
    """Return the seconds to wait before a request is repeated; None if that would not help."""
    import httpx2

    if isinstance(error, httpx2.TransportError):
        return _WAIT_SECONDS
    response = getattr(error, "response", None)
    if response is None or response.status_code not in _RETRYABLE:
        return None
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_WAIT_SECONDS) if seconds.isdigit() else _WAIT_SECONDS
