"""Downloads of models, and the line that shows the progress of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from msgspec import Struct
from rich.cells import cell_len
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.widgets import Static
from textual.worker import Worker

from chatui import catalog, readable
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings
from chatui.text import one_line
from chatui.tui.model_names import display_name

# Slow to import, and most starts download nothing.
if TYPE_CHECKING:
    from chatui.catalog.fetching.fetch import FetchEvent, FetchProgress
    from chatui.catalog.fetching.planning import FetchPlan
    from chatui.tui.turns_app import TurnsApp

_BAR_CELLS = 20
_LEAST_BAR_CELLS = 5


class Download(Struct, frozen=True):
    """A planned download; iterating its events runs it.

    Attributes:
        name: the preset, or a hub id.
        plan: the files to download.
        events: its progress; closing them stops it and keeps what was downloaded.
        settings: the settings that the model will run with.
    """

    name: str
    plan: FetchPlan
    events: AsyncGenerator[FetchPlan | FetchEvent, None]
    settings: Settings

    @property
    def question(self) -> str:
        """The question whether to download, with the size and the hubs."""
        plan = self.plan
        hosts = dict.fromkeys(repository.hub.host for repository in plan.repositories)
        words = say(
            "tui.fetch.question",
            name=self.name,
            files=len(plan.files),
            total=readable.size(plan.total_bytes),
            where=", ".join(hosts),
        )
        if plan.kept_bytes:
            words += say("tui.fetch.kept", kept=readable.size(plan.kept_bytes))
        return "\n\n".join((words, *plan.notes))


async def prepare_download(name: str, settings: Settings) -> Download:
    """Ask the hubs for the files of a model.

    Raises:
        ChatuiError: no hub can be reached or has the model, or the disk is too small.
    """
    from chatui.catalog.fetching.fetch import fetch

    events = fetch(name, settings)
    return Download(name, cast("FetchPlan", await anext(events)), events, settings)


class FetchBar(Static):
    """Shows the progress of a download, then offers to switch to the model."""

    app: TurnsApp

    @dataclass
    class Chosen(Message):
        """The user chose to switch to the downloaded model."""

        name: str

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._download: Download | None = None
        self._worker: Worker[None] | None = None
        self._title = ""
        self._done_bytes = 0

    def on_mount(self) -> None:
        self.display = False

    @property
    def running(self) -> str:
        """The name of the running download; "" if there is none."""
        return self._download.name if self._download is not None and self._worker else ""

    def begin(self, download: Download) -> None:
        """Start a download; the previous one must have ended."""
        self._download, self._done_bytes = download, 0
        self._title = one_line(display_name(download.name), 40)
        self._show_text(say("tui.fetch.begun", name=self._title))
        self._worker = self.run_worker(self._run(download), group="fetch", exclusive=True)

    def stop_or_choose(self) -> bool:
        """Stop the download or choose the downloaded model; False if there is neither."""
        if self._download is None:
            return False
        if self._worker is not None:
            self._worker.cancel()
            done = readable.size(self._done_bytes)
            self._end(say("tui.fetch.stopped", name=self._title, done=done))
        else:
            self.post_message(self.Chosen(self._download.name))
            self.dismiss()
        return True

    def dismiss(self) -> None:
        """Hide the line, unless a download is running."""
        if self._worker is None:
            self._download = None
            self.display = False

    def on_click(self, event: Click) -> None:
        event.stop()
        if self._worker is None:
            self.stop_or_choose()

    async def _run(self, download: Download) -> None:
        from chatui.catalog.fetching.fetch import FetchDone, FetchNote, FetchProgress

        severity: SeverityLevel = "error"
        try:
            async with aclosing(download.events) as events:
                async for event in events:
                    if isinstance(event, FetchProgress):
                        self._done_bytes = event.done_bytes
                        self._show_text(self._progress_text(event))
                    elif isinstance(event, FetchNote):
                        self.app.tell_user(event.sentence, "information")
                    elif isinstance(event, FetchDone):
                        severity = "warning"
                        await asyncio.to_thread(catalog.resolve, download.name, download.settings)
                        self._worker = None
                        self._show_text(say("tui.fetch.ready", name=self._title))
                        self.app.tell_user(say("tui.fetch.done", name=self._title), "information")
        except ChatuiError as error:
            self._end(str(error), severity)

    def _end(self, sentence: str, severity: SeverityLevel = "information") -> None:
        self._worker = None
        self.dismiss()
        self.app.tell_user(sentence, severity)

    def _progress_text(self, event: FetchProgress) -> str:
        name = f"↓ {self._title} "
        done, total = readable.size(event.done_bytes), readable.size(event.total_bytes)
        parts = [f" {int(100 * event.share)}%", f"{done}/{total}"]
        if event.seconds_left is not None:
            speed = readable.size(event.bytes_per_second)
            left = readable.duration(event.seconds_left)
            parts.append(say("tui.fetch.speed", speed=speed, left=left))
        parts.append(say("tui.fetch.keys"))
        room = self.content_size.width - cell_len(name)
        # The key that stops matters more than the numbers.
        while cell_len(" · ".join(parts)) > room - _LEAST_BAR_CELLS and len(parts) > 2:
            del parts[-2]
        rest = " · ".join(parts)
        cells = max(0, min(_BAR_CELLS, room - cell_len(rest)))
        return name + readable.progress_bar(event.share, cells) + rest

    def _show_text(self, words: str) -> None:
        self.update(Content(words))
        self.display = True
