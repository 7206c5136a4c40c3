"""The command line: one module a verb, each a thin call into the packages below."""

from __future__ import annotations

import gc


def main() -> int:
    """Run the command line; the exit code."""
    try:
        return _run()
    except KeyboardInterrupt:
        # Also while modules are imported, or while another Ctrl+C is answered.
        return 130
    finally:
        import signal

        # Python's own end would answer Ctrl+C with a traceback.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _run() -> int:
    # Imports make many objects and little garbage; with the default of one collection per 700
    # objects, collecting takes a quarter of the time to the first frame.
    gc.set_threshold(100_000, 20, 100)
    from chatui.cli.parser import run

    return run()
