"""Actions on unsent queries: drafts, files, the external editor, waiting queries."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.locations import expanded
from chatui.text import in_quotes, one_line, without_surrogates
from chatui.tui.drafts import Draft
from chatui.tui.screens.edit_actions import EditActions
from chatui.tui.turn_messages import TurnMessage, WaitingChanged
from chatui.tui.widgets.query_box import QueryBox

SAVE_SECONDS = 0.4
"""Seconds between a change of the query box and saving the draft."""


class QueryActions(EditActions):
    """Saves drafts, sends queries with files, and edits queries in $EDITOR and in the queue."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("alt+x", "editor", "tui.keys.editor"),
        Binding("alt+q", "edit_waiting", "tui.keys.edit_waiting"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._draft = Draft()
        self._draft_lock = asyncio.Lock()
        self._is_save_planned = False
        self._is_draft_loaded = False

    # The draft

    def _after_first_paint(self) -> None:
        super()._after_first_paint()
        self._load_draft()

    @work
    async def _load_draft(self) -> None:
        async with self._draft_lock:
            text = await asyncio.to_thread(self._draft.claim)
        self._give_back((text,) if text else ())
        self._is_draft_loaded = True

    @property
    def _unsent(self) -> str:
        """All texts of the user that are stored nowhere else."""
        edited = (self._edit.draft,) if self._edit else ()
        return "\n".join(
            filter(None, (*self.app.turns.unsent_texts, *edited, self._box.query_text))
        )

    @on(QueryBox.Changed)
    def _plan_saving(self) -> None:
        if not self._is_save_planned:
            self._is_save_planned = True
            self.set_timer(SAVE_SECONDS, self._save_draft)

    def handle_turn_message(self, message: TurnMessage) -> None:
        super().handle_turn_message(message)
        if isinstance(message, WaitingChanged):
            self._plan_saving()

    @work
    async def _save_draft(self) -> None:
        self._is_save_planned = False
        async with self._draft_lock:
            await asyncio.to_thread(self._draft.save, self._unsent)

    def on_unmount(self) -> None:
        self._draft.close(self._unsent if self._is_draft_loaded else None)

    # Files

    async def ask(self, text: str) -> None:
        """Send a query, with the content of the files that it names."""
        with self.reporting_errors(text):
            self.app.turns.ask(await self.insert_files(text))

    async def insert_files(self, text: str) -> str:
        """Replace each ``@name`` in a query by the content of the file.

        Raises:
            ChatuiError: a file cannot be read.
        """
        if "@" not in text:
            return text
        from chatui.tui.query_files import insert_files

        text, sentences = await asyncio.to_thread(insert_files, text)
        for sentence in sentences:
            self.app.tell_user(sentence, "information")
        return text

    @on(QueryBox.FileRequested)
    async def _complete_file(self, event: QueryBox.FileRequested) -> None:
        from chatui.tui.query_files import complete_path, read_query_file

        name = await asyncio.to_thread(complete_path, event.name)
        self._box.replace_before_cursor(f"@{event.name}", f"@{name}")
        if name.endswith("/") or not await asyncio.to_thread(expanded(name).exists):
            return
        with self.reporting_errors():
            file = await asyncio.to_thread(read_query_file, name)
            self._box.replace_before_cursor(f"@{name}", file.in_query, name)

    # The external editor

    async def action_editor(self) -> None:
        """Edit the text of the query box in $EDITOR."""
        try:
            with self.reporting_errors():
                with self.app.batch_update(), self.app.suspend():
                    text = await _edit_externally(without_surrogates(self._box.query_text))
                self._box.set_query(text, held=False)
        except SuspendNotSupported:
            self.app.tell_user(say("tui.editor.not_here"))
        self.refresh(layout=True)

    # Waiting queries

    def action_withdraw_waiting(self, index: int) -> None:
        """Withdraw a waiting query."""
        taken = self.app.turns.withdraw_query(index)
        if taken is not None:
            self.app.hint("overview.waiting.withdrawn", query=one_line(taken.text, 60))

    def action_edit_waiting(self, index: int = -1) -> None:
        """Edit a waiting query in the query box, by default the last; Esc puts it back."""
        turns = self.app.turns
        # Put back a query that is being edited.
        self.cancel_edit()
        taken = turns.withdraw_query(index)
        if taken is None:
            self.app.hint("tui.waiting.none")
            return

        def put_back(text: str = taken.text) -> None:
            if text.strip():
                turns.put_back(taken, text)

        words = say("tui.rewrite.waiting")
        self.edit_in_box(taken.text, words, put_back, put_back, may_be_empty=True)


async def _edit_externally(text: str) -> str:
    """Return ``text`` as edited in the user's editor.

    Raises:
        ChatuiError: the editor cannot be run, or ended with an error.
    """
    import shlex
    import tempfile

    setting = os.environ.get("VISUAL", "").strip() or os.environ.get("EDITOR", "").strip() or "vi"
    with tempfile.TemporaryDirectory(prefix="chatui-") as folder:
        file = Path(folder) / "query.md"
        try:
            file.write_text(text, encoding="utf-8")
            process = await asyncio.create_subprocess_exec(*shlex.split(setting), str(file))
            code = await process.wait()
            if code:
                raise ChatuiError(say("tui.editor.failed", name=in_quotes(setting), code=code))
            return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
        except (OSError, ValueError) as error:
            raise ChatuiError(
                say("tui.editor.missing", name=in_quotes(setting), reason=error)
            ) from error
