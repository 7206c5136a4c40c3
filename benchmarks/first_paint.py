"""Time from process start to the first frame: chatui against a bare Textual app.

    python benchmarks/first_paint.py [--runs 15] [--others PROGRAM ...] [--json]

They take turns in a pseudo-terminal; ``--others`` adds oterm and elia by the paths of their
programs, each with an empty home. The bare app only has the same widgets: a title, a scrolling
conversation with the welcome text, a text area, a status line. chatui runs completely: it reads the
settings and the catalog, opens the store and shows the welcome page. The engine starts after the
first frame.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from pseudo_terminal import Terminal

BARE = """
from textual.app import App
from textual.containers import Vertical, VerticalScroll
from textual.widgets import Static, TextArea

class Bare(App):
    ENABLE_COMMAND_PALETTE = False
    CSS = '''
    #title { height: 1; }
    VerticalScroll { height: 1fr; }
    Vertical { height: auto; }
    TextArea { height: auto; min-height: 3; max-height: 10; border: round $primary; }
    #facts { height: 1; }
    '''

    def compose(self):
        yield Static("New conversation", id="title", markup=False)
        with VerticalScroll(can_focus=False):
            with Vertical():
                yield Static("A friend who writes poems", markup=False)
                yield Static(markup=False)
                yield Static("The model that ships with chatui is small. " * 8, markup=False)
                for _ in range(3):
                    yield Static("An example", markup=False)
                yield Static("For a bigger model that talks about anything. " * 4, markup=False)
        yield Static(markup=False)
        yield TextArea(placeholder="Type here; Enter sends")
        yield Static("facts", id="facts", markup=False)

    def on_mount(self):
        self.query_one(TextArea).focus()

Bare().run()
"""
MARK = b"New conversation"
OTHERS = {"oterm": b"Welcome to oterm", "elia": b"History ("}
"""Text in the first frame of other programs."""


def seconds(name: str, command: list[str]) -> float:
    """Return the time from the start of ``command`` to its first frame."""
    terminal = Terminal(command)
    try:
        return terminal.wait_for(OTHERS.get(name, MARK)) - terminal.started
    finally:
        terminal.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--others", nargs="*", default=[], metavar="PROGRAM")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    commands = {
        "bare": [sys.executable, "-c", BARE],
        # As the installed script does; "-m" imports more.
        "chatui": [sys.executable, "-c", "from chatui.cli import main; main()"],
        **{Path(program).name: [program] for program in args.others},
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HOME=folder, CHATUI_HOME=folder, CHATUI_LANG="en")
        # Without oterm's splash screen, which would be its first frame.
        settings = Path(folder, ".local/share/oterm/config.json")
        settings.parent.mkdir(parents=True)
        settings.write_text('{"splash-screen": false}', encoding="utf-8")
        # With compiled byte code, as after an installation.
        os.environ.update(PYTHONDONTWRITEBYTECODE="", PYTHONPYCACHEPREFIX=f"{folder}/bytecode")
        for run in range(args.runs + 1):
            for name, command in commands.items():
                taken = seconds(name, command)
                # The first run fills the disk cache and writes byte code.
                if run:
                    times[name].append(taken)
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    if args.json:
        print(json.dumps(medians))
        return
    for name, median in medians.items():
        ratio = medians["chatui"] / median
        print(f"{name:>6}: {median:.3f} s (median of {args.runs}); chatui: {ratio:.2f} of it")
    print("aim: <= 1.3 of the bare app, <= 0.5 of others")


if __name__ == "__main__":
    main()
