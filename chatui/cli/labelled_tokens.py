"""Print a training example: its lines, then rows of tokens with their ids and labels."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chatui.cli.output import write
from chatui.text import plain_text, token_in_quotes

if TYPE_CHECKING:
    from chatui.engine.examples.example_preview import ExamplePreview, LabelledToken

_TERMINAL = (80, 24)
_LEARNED = "bold green"
_READ = "dim"


def print_preview(preview: ExamplePreview) -> None:
    """Print the lines, then rows of tokens with their ids and labels.

    Tokens with labels are coloured, unless the output has no colours or NO_COLOR is set.
    """
    from rich.console import Console
    from rich.text import Text

    for line in preview.lines:
        write(line + "\n")
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    width = shutil.get_terminal_size(_TERMINAL).columns
    for row in _rows(preview.tokens, width):
        write("\n")
        for name in ("token", "id", "label"):
            shown = Text(no_wrap=True)
            for each, cells in row:
                style = _LEARNED if each.is_learned else _READ
                shown.append(_fitted(_shown(each, name), cells), style=style)
                shown.append(" ")
            shown.rstrip()
            console.print(shown)


def _rows(tokens: Sequence[LabelledToken], width: int) -> Iterator[list[tuple[LabelledToken, int]]]:
    """Yield rows of at most ``width`` cells: the tokens with their cells."""
    from rich.cells import cell_len

    row: list[tuple[LabelledToken, int]] = []
    used = 0
    for each in tokens:
        cells = max(cell_len(_shown(each, name)) for name in ("token", "id", "label"))
        if row and used + cells > width:
            yield row
            row, used = [], 0
        row.append((each, cells))
        used += cells + 1
    if row:
        yield row


def _shown(each: LabelledToken, name: str) -> str:
    value = getattr(each, name)
    return plain_text(token_in_quotes(value)[1:-1]) if name == "token" else str(value)


def _fitted(text: str, cells: int) -> str:
    from rich.cells import cell_len

    return text + " " * (cells - cell_len(text))
