"""The command line: a table of commands, and their functions, which call the packages below."""

from __future__ import annotations

import gc


def main() -> int:
    """Run the command line and return the exit code."""
    # Imports create many objects and little garbage: at the default of one collection per 700
    # objects, the collector takes a quarter of the time to the first frame.
    gc.set_threshold(100_000, 20, 100)
    try:
        from chatui.cli.parser import run

        return run()
    except KeyboardInterrupt:
        # Ctrl+C while modules are imported, or while another Ctrl+C is handled.
        return 130
    finally:
        import signal

        # While Python shuts down, its own handler would write a traceback.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
