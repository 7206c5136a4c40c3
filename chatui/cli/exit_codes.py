"""Exit codes, and errors reported as one sentence with the traceback in the log."""

from __future__ import annotations

import io
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from chatui import locations
from chatui.cli.output import clear_status_line, discard_output, write_stderr
from chatui.errors import ChatuiError
from chatui.locales import say

SUCCESS = 0
ERROR = 1
WRONG_USAGE = 2
INTERRUPTED = 130

_MAX_LOG_BYTES = 1_000_000
_LOG_BACKUPS = 2


class UsageError(ChatuiError):
    """The command was used wrongly."""


def _keep_log() -> None:
    """Write chatui's log to the log file; errors on writing are ignored."""
    # Imported late: the help needs no log.
    from logging.handlers import RotatingFileHandler

    class LogFile(RotatingFileHandler):
        """Creates its folder when the first line is written."""

        def _open(self) -> io.TextIOWrapper:
            Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
            return super()._open()

    logging.raiseExceptions = False
    logger = logging.getLogger("chatui")
    for old in logger.handlers[:]:
        logger.removeHandler(old)
        old.close()
    handler = LogFile(
        locations.log_file(),
        maxBytes=_MAX_LOG_BYTES,
        backupCount=_LOG_BACKUPS,
        encoding="utf-8",
        errors="backslashreplace",
        delay=True,
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextmanager
def message_on_interrupt(sentence: Callable[[], str]) -> Iterator[None]:
    """Write ``sentence`` to standard error if Ctrl+C interrupts the block."""
    try:
        yield
    except KeyboardInterrupt:
        write_stderr(sentence())
        raise


def run_command(action: Callable[[], int], *, debug: bool = False) -> int:
    """Run a command and return its exit code; ``debug`` also shows tracebacks of errors."""
    try:
        _keep_log()
        code = action()
        clear_status_line()
        sys.stdout.flush()
    except UsageError as error:
        write_stderr(say("cli.error", sentence=error))
        return WRONG_USAGE
    except ChatuiError as error:
        logging.getLogger(__name__).info("%s", error, exc_info=error.__cause__)
        _tell_error(str(error), debug)
        return ERROR
    except KeyboardInterrupt:
        clear_status_line()
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as ``head -1``, needs no more output.
        discard_output()
        return SUCCESS
    except OSError as error:
        discard_output()
        logging.getLogger(__name__).error("the system refused", exc_info=True)
        _tell_error(say("cli.system_refused", reason=error), debug)
        return ERROR
    except Exception as error:
        logging.getLogger(__name__).error("a bug", exc_info=True)
        name = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(".")
        _tell_error(say("cli.bug", error=name, log=locations.log_file()), debug)
        return ERROR
    return code


def _tell_error(sentence: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    write_stderr(say("cli.error", sentence=sentence))
