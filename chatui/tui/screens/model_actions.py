"""Actions that choose the model: another one, adapters on it, thinking, and downloads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from chatui import catalog
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.tui.model_names import display_name, reply_author, with_adapters
from chatui.tui.screens.view_actions import ViewActions
from chatui.tui.widgets.fetch_bar import FetchBar

if TYPE_CHECKING:
    from chatui.tui.widgets.fetch_bar import Download


class ModelActions(ViewActions):
    """Switches models, adapters and thinking, and fetches models."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2", "models", "tui.keys.models"),
        Binding("f3", "adapters", "tui.keys.adapters"),
        Binding("f5", "think", "tui.keys.think"),
        Binding("f9", "chat_model", "tui.keys.chat_model"),
        Binding("f10", "server_model", "tui.keys.server_model"),
        Binding("ctrl+g", "download", "tui.keys.download"),
    ]

    async def action_models(self, name: str = "") -> None:
        """Switch to the model of this name, or to one from the list."""
        if name:
            await self._switch_to_name(name)
            return
        from chatui.tui.screens.model_picker import ModelPicker

        bar, turns = self.query_one(FetchBar), self.app.turns

        async def take(chosen: str | ModelSpec | Download | None) -> None:
            if isinstance(chosen, ModelSpec):
                self._switch(chosen)
            elif isinstance(chosen, str):
                await self._switch_to_name(chosen)
            elif chosen is not None:
                bar.begin(chosen)

        picker = ModelPicker(self.app.settings, turns.spec, turns.start_spec, bar)
        await self.show_picker(picker, take)

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
            words = say("tui.models.next", model=display_name(reply_author(spec)))
            self.app.tell_user(words, "information")
        self.app.turns.switch(spec)

    async def action_adapters(self, path: str = "") -> None:
        """Put this one adapter (``PATH[@SCALE]``) on the model, or choose from the list."""
        app, spec = self.app, self.app.turns.spec
        if path:
            await self._put_on(path)
            return
        if spec.backend != "local":
            words = say("tui.adapters.not_here", model=display_name(spec.name))
            app.tell_user(words, "information")
            return
        from chatui.tui.screens.adapter_picker import AdapterPicker

        self._remember_adapters(*spec.adapters)

        async def take(chosen: tuple[Adapter, ...] | None) -> None:
            if chosen is not None and chosen != spec.adapters:
                self._switch(with_adapters(spec, chosen))

        name, known = display_name(spec.name), app.known_adapters
        picker = AdapterPicker(app.settings, name, spec.adapters, known, spec.name)
        await self.show_picker(picker, take)

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
            self.app.tell_user(say("tui.hint.no_thinking_switch"), "information")
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
            self.app.tell_user(say("tui.hint.no_server"), "information")
        else:
            await self._switch_to_name(model.reference)

    def action_download(self) -> None:
        """Stop the running download, or switch to the model that was fetched."""
        if not self.query_one(FetchBar).stop_or_choose():
            self.app.tell_user(say("tui.fetch.none"), "information")

    @on(FetchBar.Chosen)
    @work
    async def _on_fetched_model_chosen(self, event: FetchBar.Chosen) -> None:
        await self._switch_to_name(event.name)
