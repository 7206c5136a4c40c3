"""The box in which the user types queries, with its history and completions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.document._document import EditResult
from textual.document._edit import Edit
from textual.message import Message
from textual.widgets import Static

from chatui.locales import say
from chatui.text import one_line, unescape_unsafe
from chatui.tui.commands import Command, completions
from chatui.tui.widgets.key_line import clickable
from chatui.tui.widgets.query_editor import QueryEditor

if TYPE_CHECKING:
    from chatui.tui.widgets.completion_list import CompletionList

_FILE_MENTION = re.compile(r"(?<![A-Za-z0-9_@/.])@(\S*)$")
"""An ``@name`` of a file before the cursor."""

_SHOWN = 3
"""Maximum number of waiting queries shown."""


class PurposeLine(Static):
    """A line above the query box that says what is being edited; hidden when it is empty."""

    def on_mount(self) -> None:
        self.set_text("")

    def set_text(self, text: str) -> None:
        """Show ``text``; "" hides the line."""
        self.update(Content(text))
        self.display = bool(text)


class WaitingList(Static):
    """Shows the first few waiting queries; hidden if there are none.

    A click on a query moves it back to the query box, a click on its cross withdraws it.
    """

    auto_links = False

    def on_mount(self) -> None:
        self.display = False

    def show(self, queries: Sequence[str]) -> None:
        """Show these queries, the next to be answered first."""
        lines = [_line(index, query) for index, query in enumerate(queries[:_SHOWN])]
        if len(queries) > _SHOWN:
            more = say("tui.waiting.more", count=len(queries) - _SHOWN)
            lines.append(clickable("  " + more, "screen.edit_waiting"))
        self.update(Content("\n").join(lines))
        self.display = bool(queries)


def _line(index: int, query: str) -> Content:
    words = say("tui.waiting.query", query=one_line(query, 60))
    return Content.assemble(
        clickable("✕ ", f"screen.withdraw_waiting({index})"),
        clickable(words, f"screen.edit_waiting({index})"),
    )


class QueryBox(QueryEditor):
    """A text area that sends its text on Enter and completes commands and file names.

    Attributes:
        commands: the commands offered for a text that begins with a slash.
        may_be_empty: True if Enter also sends an empty text.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "tui.keys.send"),
        Binding("shift+enter,ctrl+j,alt+enter", "newline", "tui.keys.newline"),
        Binding("ctrl+delete", "delete_word_right", "tui.keys.delete_next_word"),
        Binding("tab", "complete", "tui.keys.complete"),
        Binding("up", "earlier_or_up", "tui.keys.query_before"),
        Binding("down", "later_or_down", "tui.keys.query_after"),
        Binding("pageup", "screen.scroll_pages(-1)", "tui.keys.page_up"),
        Binding("pagedown", "screen.scroll_pages(1)", "tui.keys.page_down"),
        Binding("end", "line_end_or_follow", "tui.keys.scroll_to_end"),
    ]

    @dataclass
    class Submitted(Message):
        """The user sent a text."""

        text: str

    @dataclass
    class FileRequested(Message):
        """The user asked to complete a file's name, or to insert the file."""

        name: str

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id=id, placeholder=say("tui.query.placeholder"))
        self._history: list[str] = []
        self._history_index = 0
        self._draft = ""
        self.commands: tuple[Command, ...] = ()
        self.may_be_empty = False
        self._completions: CompletionList | None = None

    def clear_query(self) -> None:
        super().clear_query()
        self.hide_completions()

    async def _on_key(self, event: events.Key) -> None:
        # TextArea would insert a line break.
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_submit()

    def action_submit(self) -> None:
        text = self.query_text
        chosen = self.completions.chosen if self.completions else None
        if chosen is not None and text != f"/{chosen.name}":
            if chosen.prompt:
                self.accept_completion(chosen)
                return
            text = f"/{chosen.name}"
        if not text.strip() and not self.may_be_empty:
            return
        self.clear_query()
        if not self._history or self._history[-1] != text:
            self._history.append(text)
        self._history_index = len(self._history)
        self.post_message(self.Submitted(text))

    def action_newline(self) -> None:
        self.replace("\n", *self.selection, maintain_selection_offset=False)

    async def action_line_end_or_follow(self) -> None:
        """Go to the end of the line; at its end, go to the end of the conversation."""
        if self.cursor_at_end_of_line and self.selection.is_empty:
            await self.run_action("screen.follow")
        else:
            self.action_cursor_line_end()

    # The history

    def set_history(self, queries: list[str]) -> None:
        """Set the queries that ↑ goes back to, oldest first."""
        self._history = list(queries)
        self._history_index = len(self._history)

    def action_earlier_or_up(self) -> None:
        """Move up a row; on the first row, show the previous query of the history."""
        index = self._history_index - 1
        if self.completions:
            self.completions.action_cursor_up()
        elif self._cursor_row > 0 or index < 0:
            self.action_cursor_up()
        else:
            self._show_history(index)

    def action_later_or_down(self) -> None:
        """Move down a row; on the last row, show the next query of the history, then the draft."""
        index = self._history_index + 1
        if self.completions:
            self.completions.action_cursor_down()
        elif self._cursor_row < self.wrapped_document.height - 1 or index > len(self._history):
            self.action_cursor_down()
        else:
            self._show_history(index)

    @property
    def _cursor_row(self) -> int:
        return self.wrapped_document.location_to_offset(self.cursor_location).y

    def _show_history(self, index: int) -> None:
        """Show a query of the history; the draft follows the last one."""
        if self._history_index == len(self._history):
            self._draft = self.query_text
        self._history_index = index
        self.set_query([*self._history, self._draft][index])

    # Completion

    def edit(self, edit: Edit) -> EditResult:
        result = super().edit(edit)
        self.complete()
        return result

    @property
    def completions(self) -> CompletionList | None:
        """The list of completions; None while it is hidden."""
        shown = self._completions
        return shown if shown is not None and shown.display else None

    def complete(self) -> None:
        """List the commands that the text is the beginning of."""
        text = self.text
        found = completions(self.commands, text) if text.startswith("/") else ()
        if found and self._completions is None:
            # Imported here to keep it out of the start.
            from chatui.tui.widgets.completion_list import CompletionList

            self._completions = CompletionList()
            self.screen.mount(self._completions, before=self)
        if self._completions is not None:
            self._completions.show(found)

    def hide_completions(self) -> bool:
        """Hide the list of completions and return True if it was shown."""
        was_shown = self.completions is not None
        if self._completions is not None:
            self._completions.show(())
        return was_shown

    def action_complete(self) -> None:
        """Complete the command or the file name; with neither, focus the next widget."""
        chosen = self.completions.chosen if self.completions else None
        mention = _FILE_MENTION.search(self.text_before_cursor())
        if chosen is not None:
            self.accept_completion(chosen)
        elif mention is not None:
            self.post_message(self.FileRequested(unescape_unsafe(mention[1])))
        else:
            self.screen.focus_next()

    def accept_completion(self, command: Command) -> None:
        """Replace the text with a command, and a space if the command takes something."""
        space = " " if command.takes_argument else ""
        self.set_query(f"/{command.name}{space}")
        self.hide_completions()
