"""The log file with the tracebacks of errors."""

from __future__ import annotations

import io
import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

from chatui import locations

_MAX_BYTES = 1_000_000
_BACKUPS = 2


class _LogFile(RotatingFileHandler):
    """Creates its folder when the first line is written."""

    def _open(self) -> io.TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()


def keep_log(level: int = logging.INFO) -> None:
    """Write chatui's log to the log file; errors on writing are ignored."""
    logging.raiseExceptions = False
    logger = logging.getLogger("chatui")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    handler = _LogFile(
        locations.log_file(),
        maxBytes=_MAX_BYTES,
        backupCount=_BACKUPS,
        encoding="utf-8",
        errors="backslashreplace",
        delay=True,
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(level)
    logger.propagate = False
