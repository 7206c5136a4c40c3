"""Text editing by grapheme cluster and by Chinese word.

A grapheme cluster (UAX #29) is what a reader calls a character: a flag, a family emoji, a letter
with its accents. Chinese words follow jieba's dictionary if :mod:`rjieba` is installed; otherwise
each hanzi is a word.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
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
"""Dictionary words of at least this many hanzi are mostly phrases, and are split further."""

_GRAPHEME = r"\X"
_RUN = r"\p{Han}+|[\w--\p{Han}]+|[^\w\s]+"
_HAN = r"\p{Han}"


@cache
def _pattern(pattern: str) -> Any:
    # Imported late: regex takes 14 ms, and the first frame does not need it.
    import regex

    return regex.compile(pattern, regex.VERSION1)


def is_typed_text(event: Key) -> bool:
    """Return whether a key types its character: not with Alt, and no control character.

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
    """Return the start of the grapheme cluster before ``index``, or 0."""
    return max((start for start, _ in _graphemes(text[:index])), default=0)


def grapheme_end(text: str, index: int) -> int:
    """Return the end of the grapheme cluster at ``index``."""
    match = _pattern(_GRAPHEME).match(text, index)
    return match.end() if match else len(text)


def outside_grapheme(text: str, index: int) -> int:
    """Return ``index``, or the start of the cluster if it is inside one."""
    return next((start for start, end in _graphemes(text) if end > index), index)


def word_start(text: str, index: int) -> int:
    """Return the start of the word before ``index``; white space between them is skipped."""
    return max((start for start, _ in _words(text) if start < index), default=0)


def word_end(text: str, index: int) -> int:
    """Return the end of the word at or after ``index``; white space before it is skipped."""
    return next((end for _, end in _words(text) if end > index), len(text))


def _words(text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each word and each run of punctuation."""
    for match in _pattern(_RUN).finditer(text):
        if not _pattern(_HAN).match(match[0]):
            yield match.span()
            continue
        start = match.start()
        for length in _hanzi_words(match[0]):
            yield start, start + length
            start += length


def _hanzi_words(run: str) -> Iterator[int]:
    """Yield the length of each word in a run of hanzi."""
    try:
        import rjieba
    except ImportError:
        yield from (1 for _ in run)
        return
    for word in rjieba.cut(run):
        if len(word) < _LONG_WORD:
            yield len(word)
            continue
        inner = [
            (start, end) for _, start, end in rjieba.tokenize(word, "search") if end - start > 1
        ]
        # The shortest part that begins at each index, since later items replace earlier ones.
        ends = dict(sorted(set(inner) - {(0, len(word))}, reverse=True))
        cuts = [0]
        while cuts[-1] in ends:
            cuts.append(ends[cuts[-1]])
        cuts = cuts if cuts[-1] == len(word) else [0, len(word)]
        yield from (end - start for start, end in pairwise(cuts))


class LineInput(Input):
    """A one-line input, edited by grapheme cluster and by Chinese word."""

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
        """Insert a paste as one line; Textual would insert only its first line."""
        event.stop()
        event.prevent_default()
        self.replace(_on_one_line(event.text.strip("\r\n")), *self.selection)

    @property
    def cursor_screen_offset(self) -> Offset:
        """The screen position of the caret, for the terminal's cursor."""
        x, y, _, _ = self.content_region
        cells = cell_len(expand_tabs_inline(self.value[: self.cursor_position], _TAB_CELLS))
        return Offset(x + cells - self.scroll_offset.x, y)

    def _watch_selection(self, selection: Selection) -> None:
        super()._watch_selection(selection)
        # The selection may have scrolled the line.
        self.app.cursor_position = self.cursor_screen_offset

    def _on_resize(self) -> None:
        """Scroll to the caret, which may be outside of a narrower box."""
        if self.has_focus:
            self._watch_selection(self.selection)

    def _cell_offset_to_index(self, offset: int) -> int:
        """Return the index of the cluster at a cell of the box, for the mouse."""
        offset += self.scroll_offset.x
        hit = (
            start for start, end in _graphemes(self.value) if offset < cell_len(self.value[:end])
        )
        return next(hit, len(self.value))

    def _move_caret(self, index: int, select: bool) -> None:
        self.selection = Selection(self.selection.start if select else index, index)

    def action_cursor_left(self, select: bool = False) -> None:
        if select or self.selection.is_empty:
            self._move_caret(grapheme_start(self.value, self.cursor_position), select)
        else:
            self._move_caret(min(self.selection), False)

    def action_cursor_right(self, select: bool = False) -> None:
        if select or self.selection.is_empty:
            self._move_caret(grapheme_end(self.value, self.cursor_position), select)
        else:
            self._move_caret(max(self.selection), False)

    def action_cursor_left_word(self, select: bool = False) -> None:
        self._move_caret(word_start(self.value, self.cursor_position), select)

    def action_cursor_right_word(self, select: bool = False) -> None:
        self._move_caret(word_end(self.value, self.cursor_position), select)

    def action_delete_left(self) -> None:
        self._delete_to(grapheme_start(self.value, self.cursor_position))

    def action_delete_right(self) -> None:
        self._delete_to(grapheme_end(self.value, self.cursor_position))

    def action_delete_left_word(self) -> None:
        self._delete_to(word_start(self.value, self.cursor_position))

    def action_delete_right_word(self) -> None:
        self._delete_to(word_end(self.value, self.cursor_position))

    def _delete_to(self, index: int) -> None:
        """Delete the selection, or the text between the caret and ``index``."""
        if self.selection.is_empty:
            self.delete(self.cursor_position, index)
        else:
            self.delete_selection()


def _on_one_line(text: str) -> str:
    """Replace line breaks and tabs by spaces, and make control characters visible."""
    return re.sub(r"[\t\n]+", " ", plain_text(text))
