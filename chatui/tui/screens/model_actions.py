"""The model: its loading, and the actions that choose another one, adapters, or thinking."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from chatui import catalog
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.text import one_line
from chatui.tui.model_names import display_name, reply_author, with_adapters
from chatui.tui.screens.chat_layout import ChatLayout
from chatui.tui.turn_messages import (
    LoadFailed,
    LoadProgress,
    ModelReady,
)
from chatui.tui.widgets.fetch_bar import FetchBar
from chatui.tui.widgets.status_line import progress_text
from chatui.tui.widgets.welcome import Welcome

if TYPE_CHECKING:
    from chatui.tui.widgets.fetch_bar import Download


class ModelActions(ChatLayout):
    """Shows how models load; switches models, adapters and thinking, and fetches models."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "models", "tui.keys.models"),
        Binding("f3", "adapters", "tui.keys.adapters"),
        Binding("f5", "think", "tui.keys.think"),
        Binding("f9", "chat_model", "tui.keys.chat_model"),
        Binding("f10", "server_model", "tui.keys.server_model"),
        Binding("ctrl+g", "download", "tui.keys.download"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._load_began = 0.0

    def _on_load_progress(self, message: LoadProgress) -> None:
        loading = message.loading
        self._status.model = one_line(display_name(reply_author(message.spec)))
        if not loading.done_bytes:
            self._load_began = time.monotonic()
        self._status.activity = progress_text(
            loading.done_bytes,
            loading.total_bytes,
            time.monotonic() - self._load_began,
        )

    def _on_model_ready(self, message: ModelReady) -> None:
        spec, loaded = message.spec, message.loaded
        for welcome in self.query(Welcome):
            welcome.spec = spec
        self._status.model = one_line(display_name(reply_author(spec, loaded)))
        self._status.activity = ""
        self._status.device = say("tui.status.small") if loaded.skipped_gpu else ""
        self._show_thinking()
        # The speed and the count were measured on the previous model.
        self._status.tokens_per_second = 0
        if self._status.context_limit not in (0, loaded.context_limit):
            self._status.context_used = 0
        self._status.context_limit = loaded.context_limit
        for note in loaded.notes:
            self.app.warn_once(note)

    def _on_load_failed(self, message: LoadFailed) -> None:
        self._give_back(message.waiting)
        turns = self.app.turns
        self._status.model = one_line(display_name(reply_author(turns.spec)))
        self._status.activity = "" if turns.loaded else say("tui.status.not_loaded")
        self.app.tell_user(message.sentence)

    def _show_thinking(self) -> None:
        turns = self.app.turns
        known = turns.loaded is not None and turns.loaded.can_switch_thinking
        words = {True: say("tui.status.think_on"), False: say("tui.status.think_off"), None: ""}
        self._status.thinking = words[turns.think] if known else ""

    async def action_models(self, name: str = "") -> None:
        """Switch to the model of this name, or to one from the list."""
        if name:
            await self._switch_to_name(name)
            return
        from chatui.tui.screens.model_picker import ModelPicker

        bar = self.query_one(FetchBar)

        async def take(chosen: str | ModelSpec | Download) -> None:
            if isinstance(chosen, ModelSpec):
                self._switch(chosen)
            elif isinstance(chosen, str):
                await self._switch_to_name(chosen)
            else:
                bar.begin(chosen)

        await self.show_picker(ModelPicker(bar), take)

    async def _switch_to_name(self, name: str) -> None:
        """Switch to the model of a name, and tell the user if there is none."""
        from chatui.backends import servers

        with self.reporting_errors():
            spec = servers.resolve(name, self.app.settings)
            if spec is None:
                spec = await asyncio.to_thread(catalog.resolve, name, self.app.settings)
            self._switch(spec)

    def _switch(self, spec: ModelSpec) -> None:
        """Switch to a model; if the running reply delays the switch, tell the user."""
        if self.app.turns.is_replying:
            self.app.hint("tui.models.next", model=display_name(reply_author(spec)))
        self.app.turns.switch(spec)

    async def action_adapters(self, path: str = "") -> None:
        """Put this one adapter (``PATH[@SCALE]``) on the model, or choose from the list."""
        app, spec = self.app, self.app.turns.spec
        if path:
            await self._put_on(path)
            return
        if spec.backend != "local":
            app.hint("tui.adapters.not_here", model=display_name(spec.name))
            return
        from chatui.tui.screens.adapter_picker import AdapterPicker

        self._remember_adapters(*spec.adapters)

        def take(chosen: tuple[Adapter, ...]) -> None:
            if chosen != spec.adapters:
                self._switch(with_adapters(spec, chosen))

        await self.show_picker(AdapterPicker(spec), take)

    async def _put_on(self, path: str) -> None:
        from chatui.tui.screens.adapter_picker import adapter_at

        with self.reporting_errors():
            adapter = await asyncio.to_thread(adapter_at, path)
            self._remember_adapters(adapter)
            self._switch(with_adapters(self.app.turns.spec, (adapter,)))

    def _remember_adapters(self, *adapters: Adapter) -> None:
        self.app.known_adapters = tuple(dict.fromkeys((*self.app.known_adapters, *adapters)))

    def action_think(self) -> None:
        """Switch thinking to the next of: the model's default, off, on."""
        turns = self.app.turns
        if turns.loaded is None or not turns.loaded.can_switch_thinking:
            self.app.hint("tui.hint.no_thinking_switch")
            return
        turns.think = {None: False, False: True, True: None}[turns.think]
        self._show_thinking()

    @work
    async def action_chat_model(self) -> None:
        """Switch to the model that the welcome suggests, or offer to fetch it."""
        from chatui.tui.screens import questions

        chat_model = None if self.findings is None else self.findings.chat_model
        if chat_model is None:
            await self.action_models()
        elif chat_model.usable:
            await self._switch_to_name(chat_model.reference)
        else:
            bar = self.query_one(FetchBar)
            download = await questions.offer_to_fetch(
                self.app, bar, chat_model, lambda words: self.app.tell_user(words, "information")
            )
            if download is not None:
                bar.begin(download)

    @work
    async def action_server_model(self) -> None:
        """Switch to the model of the server that was found."""
        model = None if self.findings is None else self.findings.server_model
        if model is None:
            self.app.hint("tui.hint.no_server")
        else:
            await self._switch_to_name(model.reference)

    def action_download(self) -> None:
        """Stop the running download, or switch to the model that was fetched."""
        if not self.query_one(FetchBar).stop_or_choose():
            self.app.hint("tui.fetch.none")

    @on(FetchBar.Chosen)
    @work
    async def _on_fetched_model_chosen(self, event: FetchBar.Chosen) -> None:
        await self._switch_to_name(event.name)
