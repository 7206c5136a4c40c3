"""Detect which chatui processes are running: each writer holds a lock on its own file.

The operating system releases the lock when the process ends, even by kill -9. Process ids, clocks
and timeouts are not needed, so a process that waits minutes for a first token counts as running.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

_SUFFIX = ".lock"
_NEW_SUFFIX = ".new"
"""Suffix of a lock file until it is locked."""
_NEW_SECONDS = 3600
"""Age in seconds at which an unlocked new file is removed."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


class Presence:
    """The lock files of the processes that write to a database, this one's included.

    A name may be written to the database only after :meth:`announce` returned it. Other processes
    then test the lock to see whether the process of that name is running.

    Attributes:
        name: the announced name of this process; "" before.
    """

    def __init__(self, database: Path | None) -> None:
        """None is a database in memory: it has one process, whose name stays ""."""
        self._is_shared = database is not None
        self._folder = Path(f"{database}-writers")
        self.name = ""
        self._descriptor = -1

    def announce(self) -> str:
        """Create and lock this process's file unless that is done; return its name.

        Raises:
            OSError: the folder cannot be written, or has no file locks.
        """
        if self._is_shared and not self.name:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            name = uuid.uuid4().hex
            # Renamed after locking, so that an unlocked file means that its process ended.
            new = self._folder / (name + _NEW_SUFFIX)
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                _try_lock(descriptor)
                new.rename(self._file(name))
            except OSError:
                os.close(descriptor)
                new.unlink(missing_ok=True)
                raise
            self.name, self._descriptor = name, descriptor
        return self.name

    def is_alive(self, name: str) -> bool:
        """True if the process that announced ``name`` is running; it may be this one."""
        if name and name == self.name:
            return True
        if not _is_name(name):
            return False
        try:
            descriptor = os.open(self._file(name), os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            return not _try_lock(descriptor)
        except OSError:
            return True
        finally:
            os.close(descriptor)

    def is_anyone_alive(self) -> bool:
        """True if any process that announced itself is running."""
        return any(self.is_alive(file.stem) for file in self._folder.glob("*" + _SUFFIX))

    def forget(self, name: str) -> None:
        """Remove the lock file of a process that ended."""
        if _is_name(name):
            self._file(name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the lock files of all processes that ended."""
        for file in self._folder.glob("*" + _SUFFIX):
            if not self.is_alive(file.stem):
                self.forget(file.stem)
        for file in self._folder.glob("*" + _NEW_SUFFIX):
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > _NEW_SECONDS:
                    file.unlink()

    def leave(self) -> None:
        """Release this process's lock and remove its file."""
        if self.name:
            os.close(self._descriptor)
            self.forget(self.name)
            self.name, self._descriptor = "", -1

    def _file(self, name: str) -> Path:
        return self._folder / (name + _SUFFIX)


def _is_name(name: object) -> bool:
    """True if ``name`` has the form of an announced name; a damaged database may hold others."""
    return isinstance(name, str) and name.isalnum() and len(name) < 64
