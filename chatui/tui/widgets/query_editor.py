"""The editor behind the query box: grapheme clusters, control characters, and long pastes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from rich.text import Text
from textual import events
from textual.document._document import EditResult, Location, Selection
from textual.document._edit import Edit
from textual.strip import Strip
from textual.widgets import TextArea

from chatui.locales import say
from chatui.text import escape_unsafe, escaped_as_shown, one_line, unescape_unsafe
from chatui.tui.editing import (
    grapheme_end,
    grapheme_start,
    is_typed_text,
    outside_grapheme,
    word_end,
    word_start,
)

LONG_PASTE_CHARACTERS = 4_000
LONG_PASTE_LINES = 200
"""A paste beyond either limit is shown as a label: editing it as text would be slow."""

MAX_EDITABLE_CHARACTERS = 40_000
"""A text beyond this is shown as a label even if it was opened for editing."""


class QueryEditor(TextArea):
    """A text area that keeps every character and takes text of any size.

    It moves by grapheme cluster and by Chinese word, shows control characters as pictures, and
    replaces long pastes with labels, which move and delete as one character.
    """

    def __init__(self, *, id: str | None = None, placeholder: str = "") -> None:
        # By their labels. TextArea.__init__ sets the selection, which asks for the labels.
        self._pastes: dict[str, str] = {}
        super().__init__(id=id, highlight_cursor_line=False, placeholder=placeholder)
        self.cursor_blink = False
        self.match_cursor_bracket = False

    @property
    def query_text(self) -> str:
        """The whole text, exactly as it was typed and pasted."""
        return self._expand(unescape_unsafe(self.text))

    def set_query(self, text: str, *, held: bool = True) -> None:
        """Replace the text and move the cursor to its end.

        Args:
            held: show a long text as a label; a text beyond ``MAX_EDITABLE_CHARACTERS`` always is.
        """
        self.clear_query()
        self.insert_text(text, held=held or len(text) > MAX_EDITABLE_CHARACTERS)

    def insert_text(self, text: str, *, held: bool = True) -> None:
        """Replace the selection with ``text``, or with a label if it is long and ``held``."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        is_long = len(text) > LONG_PASTE_CHARACTERS or text.count("\n") > LONG_PASTE_LINES
        shown = self._hold(text) if held and is_long else escape_unsafe(text)
        self.replace(shown, *self.selection, maintain_selection_offset=False)

    def clear_query(self) -> None:
        """Remove the text and the pastes; this cannot be undone."""
        self.load_text("")
        self._pastes.clear()

    def text_before_cursor(self) -> str:
        """Return the cursor's line up to the cursor."""
        row, column = self.cursor_location
        return self.document[row][:column]

    def replace_before_cursor(self, old: str, new: str, file: str = "") -> bool:
        """Replace ``old``, if it stands before the cursor, and return True if it did.

        Args:
            file: the name of a file whose text ``new`` is, to show it as a label; "" inserts text.
        """
        typed = escape_unsafe(old)
        if not self.text_before_cursor().endswith(typed):
            return False
        row, column = self.cursor_location
        shown = self._hold(new, file) if file else escape_unsafe(new)
        self.replace(shown, (row, column - len(typed)), (row, column))
        return True

    # Labels

    def _hold(self, text: str, file: str = "") -> str:
        """Keep a text and return its label, such as ``[pasted text 1: …]``.

        Args:
            file: the name of the file that the text comes from; "" for a paste.
        """
        name, number = one_line(file, 60) or say("tui.query.paste"), len(self._pastes) + 1
        label = say("tui.query.held", name=name, number=number, count=f"{len(text):,}")
        self._pastes[label] = text
        return label

    @property
    def _labels(self) -> re.Pattern[str] | None:
        """The pattern of all labels; None if there are none."""
        return re.compile("|".join(map(re.escape, self._pastes))) if self._pastes else None

    def _expand(self, text: str) -> str:
        """Replace each label in ``text`` with its paste."""
        labels = self._labels
        return labels.sub(lambda match: self._pastes[match[0]], text) if labels else text

    def edit(self, edit: Edit) -> EditResult:
        """Perform an edit; one that touches a part of a label takes the whole label."""
        top, bottom = sorted((edit.from_location, edit.to_location))
        first, last = self._label_around(top), self._label_around(bottom)
        if top != bottom and (first or last):
            top, bottom = (first[0] if first else top), (last[1] if last else bottom)
            edit = replace(edit, from_location=top, to_location=bottom)
        return super().edit(edit)

    def validate_selection(self, selection: Selection) -> Selection:
        """Move a cursor inside a label to the end that it was moving towards."""
        label = self._label_around(selection.end)
        if label is None:
            return selection
        moves_forward = self.selection.end <= label[0]
        end = label[1] if moves_forward else label[0]
        return Selection(end if selection.is_empty else selection.start, end)

    def _label_around(self, location: Location) -> tuple[Location, Location] | None:
        """Return the start and end of the label that a location is inside of."""
        row, column = location
        if (labels := self._labels) and row < self.document.line_count:
            for start, end in (match.span() for match in labels.finditer(self.document[row])):
                if start < column < end:
                    return (row, start), (row, end)
        return None

    # Keys and the clipboard

    async def _on_key(self, event: events.Key) -> None:
        if is_typed_text(event) and not event.is_printable:
            event.stop()
            event.prevent_default()
            self.insert_text(event.character or "")

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_text(event.text)

    def action_cut(self) -> None:
        selected = self.selected_text
        super().action_cut()
        if selected:
            self.app.copy_to_clipboard(selected)

    def action_paste(self) -> None:
        self.insert_text(self.app.clipboard)

    def action_delete_word_right(self) -> None:
        start, end = self.selection
        if start == end:
            end = self.get_cursor_word_right_location()
        self.delete(start, end, maintain_selection_offset=False)

    @property
    def selected_text(self) -> str:
        return self._expand(unescape_unsafe(super().selected_text))

    # Drawing

    def get_line(self, line_index: int) -> Text:
        return Text(escaped_as_shown(self.document.get_line(line_index)), end="", no_wrap=True)

    def render_line(self, y: int) -> Strip:
        # Textual wraps the placeholder, which raises for a width of 0.
        return super().render_line(y) if self.content_size.width > 0 else Strip.blank(0)

    # The cursor

    def get_cursor_left_location(self) -> Location:
        return self._along_line(grapheme_start, super().get_cursor_left_location())

    def get_cursor_right_location(self) -> Location:
        return self._along_line(grapheme_end, super().get_cursor_right_location())

    def get_cursor_word_left_location(self) -> Location:
        return self._along_line(word_start, super().get_cursor_word_left_location())

    def get_cursor_word_right_location(self) -> Location:
        return self._along_line(word_end, super().get_cursor_word_right_location())

    def _along_line(self, find: Callable[[str, int], int], default: Location) -> Location:
        """Return what ``find`` returns in the cursor's line; ``default`` if it leads to another."""
        row, column = self.cursor_location
        return default if default[0] != row else (row, find(self.document[row], column))

    def get_cursor_up_location(self) -> Location:
        return self._outside_grapheme(super().get_cursor_up_location())

    def get_cursor_down_location(self) -> Location:
        return self._outside_grapheme(super().get_cursor_down_location())

    def get_target_document_location(self, event: events.MouseEvent) -> Location:
        return self._outside_grapheme(super().get_target_document_location(event))

    def _outside_grapheme(self, location: Location) -> Location:
        row, column = location
        return row, outside_grapheme(self.document[row], column)
