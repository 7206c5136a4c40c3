"""Actions that export conversations to files and import them from files of other programs."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from textual import work
from textual.worker import get_current_worker

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.locations import expanded
from chatui.tui.screens.query_actions import QueryActions

if TYPE_CHECKING:
    from chatui.conversation.export_formats import ExportFormat
    from chatui.tui.screens.picker import FormatChoice

_ALL = "all"
_MAX_SKIPPED_SHOWN = 3
_PROGRESS_SECONDS = 4.0


class ImportExportActions(QueryActions):
    """``/export`` and ``/import``."""

    async def action_export(self, path: str = "") -> None:
        """Export the conversation to a file, in the format of its suffix.

        Args:
            path: "" asks for format and file; ``all`` also asks, and exports all conversations.
        """
        from chatui.conversation.export_formats import format_of
        from chatui.tui.screens.picker import ExportFormatPicker

        all_of_them = path == _ALL
        if path and not all_of_them:
            with self.reporting_errors(f"/export {path}"):
                self._export(path, format_of(Path(path)))
        elif not all_of_them and self.app.turns.current.id is None:
            self.app.hint("tui.rewrite.nothing")
        else:
            title = say("export.title_all" if all_of_them else "export.title")
            take = partial(self._ask_where, all_of_them)
            await self.show_picker(ExportFormatPicker(title), take)

    @work
    async def _ask_where(self, all_of_them: bool, choice: FormatChoice) -> None:
        from chatui.conversation.export_formats import file_name
        from chatui.tui.screens.questions import LineQuestion

        format, probabilities = choice
        about = self.app.turns.conversation
        name = "chatui" if all_of_them or about is None else file_name(about.title)
        is_folder = all_of_them and format.page is not None
        suffix = "" if is_folder else format.suffix
        key = "where" if not all_of_them else "where_all" if is_folder else "where_lines"
        proposed = await asyncio.to_thread(_free, Path(name), suffix)
        path = await self.app.push_screen_wait(LineQuestion(say(f"export.{key}"), str(proposed)))
        if path:
            self._export(path, format, probabilities, all_of_them)

    @work
    async def _export(
        self,
        path: str,
        format: ExportFormat,
        probabilities: bool = False,
        all_of_them: bool = False,
    ) -> None:
        from chatui.conversation.export_formats import export_files

        store, id = self.app.store, self.app.turns.current.id
        target = expanded(path).absolute()

        def write() -> None:
            shown = () if id is None else (id,)
            everything = (each.id for each in store.conversations(limit=-1))
            ids = sorted(everything if all_of_them else shown)
            if not ids:
                raise ChatuiError(say("tui.rewrite.nothing"))
            if target.exists():
                raise ChatuiError(say("tui.command.exists", path=target))
            export_files(
                store, ids, target, format, probabilities=probabilities, is_folder=all_of_them
            )

        with self.reporting_errors(f"/export {path}"):
            await asyncio.to_thread(write)
            self.app.hint("export.exported", path=target)

    @work
    async def action_import(self, path: str = "") -> None:
        """Import a file or a folder; "" asks for it."""
        from chatui.conversation.conversation_files import (
            IMPORT_SUFFIXES,
            ImportCounts,
            expand_paths,
            import_files,
        )
        from chatui.tui.screens.questions import LineQuestion

        if not path:
            answer = await self.app.push_screen_wait(LineQuestion(say("export.import_which")))
            path = answer or ""
        if not path:
            return
        worker = get_current_worker()
        skipped: list[str] = []
        last = time.monotonic()

        def report(now: ImportCounts) -> None:
            nonlocal last
            if worker.is_cancelled:
                # The app is closing; conversations imported so far stay.
                raise ChatuiError(say("export.importing", done=now.conversations))
            if time.monotonic() - last > _PROGRESS_SECONDS:
                last = time.monotonic()
                hint = partial(self.app.hint, "export.importing", done=now.conversations)
                self.app.call_later(hint)

        def work() -> ImportCounts:
            files = expand_paths([str(expanded(path))], IMPORT_SUFFIXES)
            return import_files(
                self.app.store, files, on_progress=report, on_skipped=skipped.append
            )

        with self.reporting_errors(f"/import {path}"):
            counts = await asyncio.to_thread(work)
            for sentence in skipped[:_MAX_SKIPPED_SHOWN]:
                self.app.tell_user(sentence, "warning")
            if len(skipped) > _MAX_SKIPPED_SHOWN:
                self.app.tell_user(say("import.import.skipped", count=len(skipped)), "warning")
            if not counts.conversations and not counts.known:
                self.app.tell_user(say("export.import_nothing", path=path))
                return
            words = say("export.imported", conversations=counts.conversations)
            if counts.known:
                words += " " + say("export.imported_known", known=counts.known)
            self.app.tell_user(words, "information")
            self._find_last_conversation()


def _free(path: Path, suffix: str) -> Path:
    """Return a path that does not exist, with a number added if necessary."""
    number, found = 1, Path(f"{path}{suffix}")
    while found.exists():
        number += 1
        found = Path(f"{path}-{number}{suffix}")
    return found
