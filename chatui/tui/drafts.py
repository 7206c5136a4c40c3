"""Unsent drafts, saved to disk so that they survive a restart or a crash."""

from __future__ import annotations

import json
import logging
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from chatui import locations
from chatui.errors import ChatuiError

if TYPE_CHECKING:
    from filelock import FileLock

_MAX_FILES = 20
logger = logging.getLogger(__name__)


class Draft:
    """The draft of one running app.

    Each running app locks one of several numbered files. A start claims the first free file,
    together with the draft in it.
    """

    def __init__(self) -> None:
        self._lock: FileLock | None = None
        self._file: Path | None = None
        self._writing = threading.Lock()

    def claim(self) -> str:
        """Claim a file and return its draft; "" if it has none or no file can be claimed."""
        from filelock import FileLock, Timeout

        folder = locations.data_folder() / "drafts"
        for number in range(1, _MAX_FILES + 1):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(folder / f"{number}.lock", timeout=0, thread_local=False)
                lock.acquire()
            except Timeout:
                continue
            except OSError as error:
                logger.warning("drafts are not kept: %s", error)
                return ""
            self._lock, self._file = lock, folder / f"{number}.json"
            return self._read()
        return ""

    def _read(self) -> str:
        assert self._file is not None
        with suppress(OSError, ValueError, RecursionError):
            text = json.loads(self._file.read_text(encoding="ascii"))
            return text if isinstance(text, str) else ""
        return ""

    def save(self, text: str) -> None:
        """Replace the saved draft; an error is only logged."""
        with self._writing:
            self._save(text)

    def _save(self, text: str) -> None:
        if self._file is None:
            return
        from chatui.conversation.exports import write_atomically

        try:
            if text.strip():
                write_atomically(self._file, json.dumps(text))
            else:
                self._file.unlink(missing_ok=True)
        except (ChatuiError, OSError) as error:
            logger.warning("the draft was not kept: %s", error)

    def close(self, text: str | None = None) -> None:
        """Release the file, after saving ``text`` unless it is None; later saves do nothing."""
        with self._writing:
            if text is not None:
                self._save(text)
            if self._lock is not None:
                self._lock.release()
            self._lock = self._file = None
