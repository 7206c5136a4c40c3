"""Print one training example: the lines of the article on fine-tuning, then rows of its tokens."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from chatui.cli.output import write
from chatui.text import plain_text, token_in_quotes

if TYPE_CHECKING:
    from chatui.engine.examples.example_encoder import ExampleEncoder, TextPair

_TERMINAL = (80, 24)
_IGNORED = "-100"


_Token: TypeAlias = tuple[str, str, str]
"""A token of an example: its spelling in the vocabulary, its id and its label."""


def print_preview(encoder: ExampleEncoder, pair: TextPair) -> None:
    """Print an example without its padding, and its labels with padding.

    Tokens with labels are coloured, unless the output has no colours or NO_COLOR is set.
    """
    tokenizer = encoder.tokenizer

    def tokens_of(ids: list[int]) -> list[str]:
        return [str(token) for token in tokenizer.convert_ids_to_tokens(ids)]

    def print_ids(ids: list[int], *names: str) -> None:
        for name, value in zip(names, (ids, tokens_of(ids), tokenizer.decode(ids)), strict=True):
            write(f"{name}{value}\n")

    ((source, target),) = encoder.encode_pairs([pair])
    example = encoder.layout.arrange(source, target)
    content = slice(*example.content)
    ids, labels = example.input_ids[content], example.labels[content]
    print_ids(source, "input_ids ", "input_tokens ", "inputs ")
    print_ids(target, "label_ids ", "label_tokens ", "labels ")
    print_ids(ids, "", "", "")
    write(f"{labels}\n{example.labels}\n")
    shown = [plain_text(token_in_quotes(token)[1:-1]) for token in tokens_of(ids)]
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for row in _rows(zip(shown, map(str, ids), map(str, labels), strict=True)):
        write("\n")
        for at in range(3):
            line = Text(no_wrap=True)
            for each, cells in row:
                style = "dim" if each[2] == _IGNORED else "bold green"
                line.append(each[at] + " " * (cells - cell_len(each[at])), style=style)
                line.append(" ")
            line.rstrip()
            console.print(line)


def _rows(tokens: Iterable[_Token]) -> Iterator[list[tuple[_Token, int]]]:
    """Yield rows of tokens with their cells, each as wide as the terminal at most."""
    width = shutil.get_terminal_size(_TERMINAL).columns
    row: list[tuple[_Token, int]] = []
    used = 0
    for each in tokens:
        cells = max(map(cell_len, each))
        if row and used + cells > width:
            yield row
            row, used = [], 0
        row.append((each, cells))
        used += cells + 1
    if row:
        yield row
