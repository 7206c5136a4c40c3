"""The front door: a few verbs, each a thin call into a room below."""

from __future__ import annotations

import gc


def main() -> int:
    """Run the command line; the exit code."""
    # A start makes nearly a hundred thousand objects and hardly any garbage: looking for some after
    # every 700 of them, as is the default, is a quarter of the time to the first frame.
    gc.set_threshold(100_000, 20, 100)
    from chatui.cli.parser import run

    return run()
