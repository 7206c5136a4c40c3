"""Editing text as people see it: by grapheme cluster, and by Chinese word.

A grapheme cluster (UAX #29) is what a reader calls a character: a flag, a family emoji, a letter
with its accents. Words follow jieba's dictionary where :mod:`rjieba` is installed; without it each
hanzi is a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any, ClassVar

from rich.cells import cell_len
from textual.binding import Binding, BindingType
from textual.events import Key, Paste
from textual.expand_tabs import expand_tabs_inline
from textual.geometry import Offset
from textual.reactive import var
from textual.widgets import Input
from textual.widgets._input import Selection

from chatui.text import plain_text

_TAB_CELLS = 4
_LONG_WORD = 4
"""A dictionary's word of so many hanzi is mostly a phrase: its own words are found in it."""

_GRAPHEME = r"\X"
_RUN = r"\p{Han}+|[\w--\p{Han}]+|[^\w\s]+"
_HAN = r"\p{Han}"


@cache
def _pattern(pattern: str) -> Any:
    # regex takes 14 ms to import, and a start shows its first frame without it.
    import regex

    return regex.compile(pattern, regex.VERSION1)


def is_typed_text(event: Key) -> bool:
    """Whether a key types its character: every one but control characters, and none with Alt.

    ``Key.is_printable`` is false for spaces other than U+0020 (U+3000 of Chinese input methods),
    for the joiners in emoji and for private-use characters.
    """
    character = event.character
    return (
        character is not None
        and len(character) == 1
        and not event.key.startswith("alt+")
        and unicodedata.category(character) not in ("Cc", "Cs")
    )


def _graphemes(text: str) -> Iterator[tuple[int, int]]:
    return (match.span() for match in _pattern(_GRAPHEME).finditer(text)) if text else iter(())


def grapheme_start(text: str, index: int) -> int:
    """Where the grapheme cluster before ``index`` begins; 0 at the start of ``text``."""
    return max((start for start, _ in _graphemes(text[:index])), default=0)


def grapheme_end(text: str, index: int) -> int:
    """Where the grapheme cluster at ``index`` ends."""
    match = _pattern(_GRAPHEME).match(text, index)
    return match.end() if match else len(text)


def outside_grapheme(text: str, index: int) -> int:
    """``index``, or the start of the cluster that it lies inside of."""
    return next((start for start, end in _graphemes(text) if end > index), index)


def word_start(text: str, index: int) -> int:
    """Where the word before ``index`` begins; white space between the two is skipped."""
    return max((start for start, _ in _words(text) if start < index), default=0)


def word_end(text: str, index: int) -> int:
    """Where the word at or after ``index`` ends; white space before it is skipped."""
    return next((end for _, end in _words(text) if end > index), len(text))


def _words(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each word and each run of punctuation."""
    for match in _pattern(_RUN).finditer(text):
        if not _pattern(_HAN).match(match[0]):
            yield match.span()
            continue
        start = match.start()
        for length in _hanzi_words(match[0]):
            yield start, start + length
            start += length


def _hanzi_words(run: str) -> Iterator[int]:
    """Lengths of the words of a run of hanzi."""
    try:
        import rjieba
    except ImportError:
        yield from (1 for _ in run)
        return
    for word in rjieba.cut(run):
        if len(word) < _LONG_WORD:
            yield len(word)
            continue
        inner = {
            (start, end) for _, start, end in rjieba.tokenize(word, "search") if end - start > 1
        } - {(0, len(word))}
        yield from _tiles(inner, len(word)) or [len(word)]


def _tiles(spans: set[tuple[int, int]], length: int) -> list[int]:
    """Lengths of spans that follow one another from 0 to ``length``; empty if there are none."""
    lengths: list[int] = []
    start = 0
    while start < length:
        ends = [end for begin, end in spans if begin == start]
        if not ends:
            return []
        lengths.append(min(ends) - start)
        start = min(ends)
    return lengths


class LineInput(Input):
    """A line of text, edited by grapheme cluster and by word, with the terminal's cursor on it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # Textual's ctrl+backspace deletes to the right.
        Binding("ctrl+w,ctrl+backspace,alt+backspace", "delete_left_word", show=False),
        Binding("ctrl+delete,alt+delete", "delete_right_word", show=False),
    ]

    cursor_blink = var(False)

    async def _on_key(self, event: Key) -> None:
        if event.character is not None and is_typed_text(event):
            event.stop()
            event.prevent_default()
            self.replace(_on_one_line(event.character), *self.selection)
            return
        await super()._on_key(event)

    def _on_paste(self, event: Paste) -> None:
        """Insert a paste as one line; Textual would take its first line alone."""
        event.stop()
        event.prevent_default()
        self.replace(_on_one_line(event.text.strip("\r\n")), *self.selection)

    @property
    def cursor_screen_offset(self) -> Offset:
        """Where the terminal's cursor belongs: at the caret, also at the end of the text."""
        x, y, _, _ = self.content_region
        cells = cell_len(expand_tabs_inline(self.value[: self.cursor_position], _TAB_CELLS))
        return Offset(x + cells - self.scroll_offset.x, y)

    def _watch_selection(self, selection: Selection) -> None:
        super()._watch_selection(selection)
        # The line may have scrolled only now.
        self.app.cursor_position = self.cursor_screen_offset

    def _on_resize(self) -> None:
        """Scroll to the caret: a narrower box may have left it outside."""
        if self.has_focus:
            self._watch_selection(self.selection)

    def _cell_offset_to_index(self, offset: int) -> int:
        """Where the mouse puts the caret: before the cluster at a cell of the box."""
        offset += self.scroll_offset.x
        hit = (
            start for start, end in _graphemes(self.value) if offset < cell_len(self.value[:end])
        )
        return next(hit, len(self.value))

    def _go(self, index: int, select: bool) -> None:
        self.selection = Selection(self.selection.start if select else index, index)

    def action_cursor_left(self, select: bool = False) -> None:
        if select or self.selection.is_empty:
            self._go(grapheme_start(self.value, self.cursor_position), select)
        else:
            self._go(min(self.selection), False)

    def action_cursor_right(self, select: bool = False) -> None:
        if select or self.selection.is_empty:
            self._go(grapheme_end(self.value, self.cursor_position), select)
        else:
            self._go(max(self.selection), False)

    def action_cursor_left_word(self, select: bool = False) -> None:
        self._go(word_start(self.value, self.cursor_position), select)

    def action_cursor_right_word(self, select: bool = False) -> None:
        self._go(word_end(self.value, self.cursor_position), select)

    def action_delete_left(self) -> None:
        self._delete_to(grapheme_start(self.value, self.cursor_position))

    def action_delete_right(self) -> None:
        self._delete_to(grapheme_end(self.value, self.cursor_position))

    def action_delete_left_word(self) -> None:
        self._delete_to(word_start(self.value, self.cursor_position))

    def action_delete_right_word(self) -> None:
        self._delete_to(word_end(self.value, self.cursor_position))

    def _delete_to(self, index: int) -> None:
        """Delete the selection, or what lies between the cursor and ``index``."""
        if self.selection.is_empty:
            self.delete(self.cursor_position, index)
        else:
            self.delete_selection()


def _on_one_line(text: str) -> str:
    """``text`` for a box that draws it as it is: what a terminal would obey is made visible."""
    return re.sub(r"[\t\n]+", " ", plain_text(text))
