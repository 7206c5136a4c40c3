"""Actions on unsent queries: drafts, files, the external editor, waiting queries."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import SuspendNotSupported
from textual.binding import Binding, BindingType

from chatui import locations
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.locations import expanded
from chatui.text import in_quotes, one_line, without_surrogates
from chatui.tui.screens.edit_actions import EditActions
from chatui.tui.turn_messages import TurnMessage, WaitingChanged
from chatui.tui.widgets.query_box import QueryBox

if TYPE_CHECKING:
    from filelock import FileLock

SAVE_SECONDS = 0.4
"""Seconds between a change of the query box and saving the draft."""

_MAX_DRAFTS = 20
logger = logging.getLogger(__name__)


class Draft:
    """The unsent draft of one running app, on disk, so that it survives a restart or a crash.

    Each running app locks one of several numbered files. A start claims the first free file,
    together with the draft in it.
    """

    def __init__(self) -> None:
        self._lock: FileLock | None = None
        self._file: Path | None = None
        self._writing = threading.RLock()

    def claim(self) -> str:
        """Claim a file and return its draft; "" if it has none or no file can be claimed."""
        from filelock import FileLock, Timeout

        folder = locations.data_folder() / "drafts"
        for number in range(1, _MAX_DRAFTS + 1):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                lock = FileLock(folder / f"{number}.lock", timeout=0, thread_local=False)
                lock.acquire()
            except Timeout:
                continue
            except OSError as error:
                logger.warning("drafts are not kept: %s", error)
                return ""
            self._lock, self._file = lock, folder / f"{number}.json"
            return self._read()
        return ""

    def _read(self) -> str:
        assert self._file is not None
        with suppress(OSError, ValueError, RecursionError):
            text = json.loads(self._file.read_text(encoding="ascii"))
            return text if isinstance(text, str) else ""
        return ""

    def save(self, text: str) -> None:
        """Replace the saved draft; an error is only logged."""
        from chatui.conversation.exports import write_atomically

        with self._writing:
            try:
                if self._file is not None and text.strip():
                    write_atomically(self._file, json.dumps(text))
                elif self._file is not None:
                    self._file.unlink(missing_ok=True)
            except (ChatuiError, OSError) as error:
                logger.warning("the draft was not kept: %s", error)

    def close(self, text: str | None = None) -> None:
        """Release the file, after saving ``text`` unless it is None; later saves do nothing."""
        with self._writing:
            if text is not None:
                self.save(text)
            if self._lock is not None:
                self._lock.release()
            self._lock = self._file = None


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
            inserted, _ = await asyncio.to_thread(read_query_file, name)
            self._box.replace_before_cursor(f"@{name}", inserted, name)

    # The external editor

    async def action_editor(self) -> None:
        """Edit the text of the query box in $EDITOR."""
        text = problem = ""
        try:
            with self.app.batch_update(), self.app.suspend():
                try:
                    text = await _edit_externally(without_surrogates(self._box.query_text))
                except ChatuiError as error:
                    # An exception in the block would leave the app suspended.
                    problem = str(error)
        except SuspendNotSupported:
            problem = say("tui.editor.not_here")
        if problem:
            self.app.tell_user(problem)
        else:
            self._box.set_query(text, held=False)
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
