"""Where the user types; a short label stands in the text for each long paste."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.document._document import EditResult, Location, Selection
from textual.document._edit import Edit
from textual.message import Message
from textual.strip import Strip
from textual.widgets import TextArea

from chatui.locales import say
from chatui.text import escape_unsafe, escaped_as_shown, one_line, unescape_unsafe
from chatui.tui.commands import Command, completions
from chatui.tui.editing import (
    grapheme_end,
    grapheme_start,
    is_typed_text,
    outside_grapheme,
    word_end,
    word_start,
)

if TYPE_CHECKING:
    from chatui.tui.widgets.completion_list import CompletionList

LONG_PASTE_CHARACTERS = 4_000
LONG_PASTE_LINES = 200
"""A paste beyond one of these is held: editing it character by character would be slow."""

_MENTION = re.compile(r"(?<![A-Za-z0-9_@/.])@(\S*)$")
"""The name of a file that is being typed."""

MAX_EDITABLE_CHARACTERS = 40_000
"""A longer text is held even if it is there to be edited."""


class HeldPastes:
    """The pastes of one query, by their labels."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    @staticmethod
    def is_long(text: str) -> bool:
        """Whether a paste is better held than edited."""
        return len(text) > LONG_PASTE_CHARACTERS or text.count("\n") > LONG_PASTE_LINES

    def hold(self, text: str, file: str = "") -> str:
        """Keep ``text``; the label to show for it.

        Args:
            file: the name of the file that it comes from; "" for a paste.
        """
        name = one_line(file, 60) or say("tui.query.paste")
        label = say(
            "tui.query.held", name=name, number=len(self._texts) + 1, count=f"{len(text):,}"
        )
        self._texts[label] = text
        return label

    def expand(self, text: str) -> str:
        """``text`` with each label replaced by what it stands for."""
        if not self._texts:
            return text
        labels = "|".join(map(re.escape, self._texts))
        return re.sub(labels, lambda match: self._texts[match[0]], text)

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Where labels stand in a line, as (start, end)."""
        found: list[tuple[int, int]] = []
        for label in self._texts:
            start = line.find(label)
            while start >= 0:
                found.append((start, start + len(label)))
                start = line.find(label, start + len(label))
        return found

    def clear(self) -> None:
        """Forget all of them."""
        self._texts.clear()


class QueryBox(TextArea):
    """A text area that sends on Enter, remembers what was sent, and takes text of any size.

    Attributes:
        commands: what a text that begins with a slash is completed to.
        may_be_empty: whether Enter sends nothing, too.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "tui.keys.send"),
        Binding("shift+enter,ctrl+j,alt+enter", "newline", "tui.keys.newline"),
        Binding("ctrl+delete", "delete_word_right", "tui.keys.delete_next_word"),
        Binding("tab", "complete", "tui.keys.complete"),
        Binding("up", "earlier_or_up", "tui.keys.earlier"),
        Binding("down", "later_or_down", "tui.keys.later"),
        Binding("pageup", "screen.scroll_pages(-1)", "tui.keys.page_up"),
        Binding("pagedown", "screen.scroll_pages(1)", "tui.keys.page_down"),
        Binding("end", "line_end_or_follow", "tui.keys.follow"),
    ]

    @dataclass
    class Submitted(Message):
        """The user sends this text."""

        text: str

    @dataclass
    class FileRequested(Message):
        """The user wants the rest of a file's name, or the file itself."""

        name: str

    def __init__(self, id: str | None = None) -> None:
        # The text area moves its cursor already while it is made.
        self._pastes = HeldPastes()
        super().__init__(
            id=id, highlight_cursor_line=False, placeholder=say("tui.query.placeholder")
        )
        self.cursor_blink = False
        self.match_cursor_bracket = False
        self._history: list[str] = []
        self._history_index = 0
        self._draft = ""
        self.commands: tuple[Command, ...] = ()
        self.may_be_empty = False
        self._completions: CompletionList | None = None

    @property
    def completions(self) -> CompletionList | None:
        """The list of commands that the text may become; None while there is nothing to show."""
        shown = self._completions
        return shown if shown is not None and shown.display else None

    def complete(self) -> None:
        """Show the commands that the text may become."""
        text = self.text
        found = completions(self.commands, text) if text.startswith("/") else ()
        if found and self._completions is None:
            # Imported late: a start shows its first frame without it.
            from chatui.tui.widgets.completion_list import CompletionList

            self._completions = CompletionList()
            self.screen.mount(self._completions, before=self)
        if self._completions is not None:
            self._completions.show(found)

    def action_complete(self) -> None:
        """Take the command that the list highlights; without a list, focus what comes next."""
        chosen = self.completions.chosen if self.completions else None
        row, column = self.cursor_location
        mention = _MENTION.search(self.document[row][:column])
        if chosen is not None:
            self.accept_completion(chosen)
        elif mention is not None:
            self.post_message(self.FileRequested(unescape_unsafe(mention[1])))
        else:
            self.screen.focus_next()

    def replace_mention(self, name: str, text: str) -> bool:
        """Put ``text`` in place of ``@name`` before the cursor; whether that still stands there."""
        row, column = self.cursor_location
        typed = escape_unsafe(f"@{name}")
        stands = self.document[row][:column].endswith(typed)
        if stands:
            self.replace(text, (row, column - len(typed)), (row, column))
        return stands

    def hold_mention(self, name: str, text: str) -> None:
        """Hold a file's text behind a label in place of ``@name`` before the cursor."""
        label = self._pastes.hold(text, name)
        self.replace_mention(name, label)

    def hide_completions(self) -> bool:
        """Hide the list of commands; whether it was there."""
        was_shown = self.completions is not None
        if self._completions is not None:
            self._completions.show(())
        return was_shown

    def accept_completion(self, command: Command) -> None:
        """Make the text the call of a command, ready for what may follow its name."""
        space = " " if command.takes_argument else ""
        self.set_query(f"/{command.name}{space}")
        self.hide_completions()

    @property
    def query_text(self) -> str:
        """What would be sent: exactly what was typed and pasted."""
        return self._pastes.expand(unescape_unsafe(self.text))

    def set_query(self, text: str, *, held: bool = True) -> None:
        """Replace the text; the cursor goes to its end.

        Args:
            held: whether a long text is held behind a label, as a paste is; a huge one always is.
        """
        self._empty()
        self.insert_text(text, held=held or len(text) > MAX_EDITABLE_CHARACTERS)

    def insert_text(self, text: str, *, held: bool = True) -> None:
        """Insert ``text`` in place of the selection; a long one is held behind a label."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        shown = (
            self._pastes.hold(text) if held and self._pastes.is_long(text) else escape_unsafe(text)
        )
        self.replace(shown, *self.selection, maintain_selection_offset=False)

    def _empty(self) -> None:
        """Without a way back by undo: the labels' texts are forgotten."""
        self.load_text("")
        self._pastes.clear()
        self.hide_completions()

    def set_history(self, queries: list[str]) -> None:
        """Make ``queries``, oldest first, what ↑ goes back to."""
        self._history = list(queries)
        self._history_index = len(self._history)

    def action_submit(self) -> None:
        text = self.query_text
        chosen = self.completions.chosen if self.completions else None
        if chosen is not None and text != f"/{chosen.name}":
            if chosen.prompt is not None:
                self.accept_completion(chosen)
                return
            text = f"/{chosen.name}"
        if not text.strip() and not self.may_be_empty:
            return
        self._empty()
        if not self._history or self._history[-1] != text:
            self._history.append(text)
        self._history_index = len(self._history)
        self.post_message(self.Submitted(text))

    def action_newline(self) -> None:
        self.replace("\n", *self.selection, maintain_selection_offset=False)

    def action_earlier_or_up(self) -> None:
        """↑ on the first row goes back in the history, elsewhere a row up."""
        if self.completions:
            self.completions.action_cursor_up()
            return
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        if row > 0 or not self._history_index:
            self.action_cursor_up()
            return
        if self._history_index == len(self._history):
            self._draft = self.query_text
        self._history_index -= 1
        self.set_query(self._history[self._history_index])

    def action_later_or_down(self) -> None:
        """↓ on the last row goes forward in the history, elsewhere a row down."""
        if self.completions:
            self.completions.action_cursor_down()
            return
        row = self.wrapped_document.location_to_offset(self.cursor_location).y
        if row < self.wrapped_document.height - 1 or self._history_index == len(self._history):
            self.action_cursor_down()
            return
        self._history_index += 1
        is_draft = self._history_index == len(self._history)
        self.set_query(self._draft if is_draft else self._history[self._history_index])

    async def action_line_end_or_follow(self) -> None:
        """End goes to the end of the line, and from there to the end of the conversation."""
        if self.cursor_at_end_of_line and self.selection.is_empty:
            await self.run_action("screen.follow")
        else:
            self.action_cursor_line_end()

    def action_cut(self) -> None:
        selected = self.selected_text
        super().action_cut()
        if selected:
            self.app.copy_to_clipboard(selected)

    def action_paste(self) -> None:
        self.insert_text(self.app.clipboard)

    @property
    def selected_text(self) -> str:
        return self._pastes.expand(unescape_unsafe(super().selected_text))

    def get_line(self, line_index: int) -> Text:
        return Text(escaped_as_shown(self.document.get_line(line_index)), end="", no_wrap=True)

    def render_line(self, y: int) -> Strip:
        # Textual's wrapping of the placeholder needs a cell.
        return super().render_line(y) if self.content_size.width > 0 else Strip.blank(0)

    def get_cursor_left_location(self) -> Location:
        row, column = self.cursor_location
        if column == 0:
            return super().get_cursor_left_location()
        return row, grapheme_start(self.document[row], column)

    def get_cursor_right_location(self) -> Location:
        row, column = self.cursor_location
        if column == len(self.document[row]):
            return super().get_cursor_right_location()
        return row, grapheme_end(self.document[row], column)

    def get_cursor_word_left_location(self) -> Location:
        row, column = self.cursor_location
        if column == 0:
            return super().get_cursor_word_left_location()
        return row, word_start(self.document[row], column)

    def get_cursor_word_right_location(self) -> Location:
        row, column = self.cursor_location
        if column == len(self.document[row]):
            return super().get_cursor_word_right_location()
        return row, word_end(self.document[row], column)

    def get_cursor_up_location(self) -> Location:
        return self._outside_grapheme(super().get_cursor_up_location())

    def get_cursor_down_location(self) -> Location:
        return self._outside_grapheme(super().get_cursor_down_location())

    def get_target_document_location(self, event: events.MouseEvent) -> Location:
        return self._outside_grapheme(super().get_target_document_location(event))

    def _outside_grapheme(self, location: Location) -> Location:
        row, column = location
        return row, outside_grapheme(self.document[row], column)

    def action_delete_word_right(self) -> None:
        start, end = self.selection
        if start == end:
            end = self.get_cursor_word_right_location()
        self.delete(start, end, maintain_selection_offset=False)

    def edit(self, edit: Edit) -> EditResult:
        """Perform an edit; one that touches a part of a label takes all of it."""
        top, bottom = sorted((edit.from_location, edit.to_location))
        wider = (self._before_label(top), self._after_label(bottom))
        if top != bottom and wider != (top, bottom):
            edit = replace(edit, from_location=wider[0], to_location=wider[1])
        result = super().edit(edit)
        self.complete()
        return result

    def validate_selection(self, selection: Selection) -> Selection:
        """Keep the cursor out of labels: it jumps to the end that it moves towards."""
        row, column = selection.end
        for start, end in self._label_spans(row):
            if start < column < end:
                forward = self.selection.end <= (row, start)
                end_location = (row, end if forward else start)
                moves_alone = selection.start == selection.end
                return Selection(end_location if moves_alone else selection.start, end_location)
        return selection

    def _label_spans(self, row: int) -> list[tuple[int, int]]:
        return self._pastes.spans(self.document[row]) if row < self.document.line_count else []

    def _before_label(self, location: Location) -> Location:
        row, column = location
        inside = [start for start, end in self._label_spans(row) if start < column < end]
        return (row, inside[0]) if inside else location

    def _after_label(self, location: Location) -> Location:
        row, column = location
        inside = [end for start, end in self._label_spans(row) if start < column < end]
        return (row, inside[0]) if inside else location

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_submit()
        elif is_typed_text(event) and not event.is_printable:
            event.stop()
            event.prevent_default()
            self.insert_text(event.character or "")

    async def _on_paste(self, event: events.Paste) -> None:
        event.stop()
        event.prevent_default()
        self.insert_text(event.text)
