"""The front door: a few verbs, each a thin call into a room below."""

from __future__ import annotations


def main() -> int:
    """Run the command line; the exit code."""
    from chatui.cli.parser import run

    return run()
