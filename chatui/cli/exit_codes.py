"""Exit codes, and errors reported as one sentence with the traceback in the log."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from chatui import locations
from chatui.cli.output import clear_status_line, discard_output, write_stderr
from chatui.errors import ChatuiError
from chatui.locales import say

SUCCESS = 0
ERROR = 1
WRONG_USAGE = 2
INTERRUPTED = 130


class UsageError(ChatuiError):
    """The command was used wrongly."""


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
