"""Which chatui processes are alive: each writer holds a lock on a file of its own.

The system drops the lock when the process ends, however it ends, so nothing depends on process
ids, clocks or heartbeats, and a reply that waits minutes for its first token is still alive.
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
"""Of a file that gets its lock in this moment."""
_NEW_SECONDS = 3600

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
    """The lock files beside one database, and this process's own.

    A name must be written into the database only after :meth:`announce` has returned it: then
    whoever finds the name there can tell by the lock whether its process still lives.

    Attributes:
        name: what was announced; "" before.
    """

    def __init__(self, database: Path) -> None:
        self._folder = database.with_name(database.name + "-writers")
        self.name = ""
        self._descriptor = -1

    def announce(self) -> str:
        """Take the lock unless it is held already, and give its name.

        Raises:
            OSError: the folder cannot be written, or knows no locks.
        """
        if not self.name:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            name = uuid.uuid4().hex
            # A file under its own name is locked, or its process is gone.
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
        """Whether the process that announced ``name`` (this one included) still runs."""
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
        """Whether any process has announced itself and still runs."""
        return any(self.is_alive(file.stem) for file in self._folder.glob("*" + _SUFFIX))

    def forget(self, name: str) -> None:
        """Remove the file of a process that is gone."""
        if _is_name(name):
            self._file(name).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the files of processes that ended while no reply was being written."""
        if not self._folder.is_dir():
            return
        for file in self._folder.glob("*" + _SUFFIX):
            if not self.is_alive(file.stem):
                self.forget(file.stem)
        for file in self._folder.glob("*" + _NEW_SUFFIX):
            with suppress(FileNotFoundError):
                if time.time() - file.stat().st_mtime > _NEW_SECONDS:
                    file.unlink()

    def leave(self) -> None:
        """Give the lock back."""
        if self.name:
            os.close(self._descriptor)
            self.forget(self.name)
            self.name, self._descriptor = "", -1

    def _file(self, name: str) -> Path:
        return self._folder / (name + _SUFFIX)


def _is_name(name: object) -> bool:
    """Whether some process may have announced it; a damaged database may hold anything."""
    return isinstance(name, str) and name.isalnum() and len(name) < 64
