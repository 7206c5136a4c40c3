"""The command line: one module a verb, each a thin call into the packages below."""

from __future__ import annotations

import gc


def main() -> int:
    """Run the command line; the exit code."""
    # Imports make many objects and little garbage; with the default of one collection per 700
    # objects, collecting takes a quarter of the time to the first frame.
    gc.set_threshold(100_000, 20, 100)
    from chatui.cli.parser import run

    return run()
