"""The screen that people talk on: its keys and clicks."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.text import in_quotes
from chatui.tui.screens import picking
from chatui.tui.screens.edit_actions import EditActions
from chatui.tui.screens.navigation_actions import NavigationActions
from chatui.tui.widgets.fetch_bar import FetchBar
from chatui.tui.widgets.round_list import RoundList


class ChatScreen(NavigationActions):
    """What the keys of the main screen do."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "tui.keys.stop"),
        Binding("ctrl+n", "new", "tui.keys.new"),
        Binding("ctrl+r", "regenerate", "tui.keys.regenerate"),
        Binding("alt+left", "version(-1)", "tui.keys.version_before"),
        Binding("alt+right", "version(1)", "tui.keys.version_after"),
        Binding("ctrl+o", "continue", "tui.keys.continue"),
        Binding("ctrl+b", "conversations", "tui.keys.conversations"),
        Binding("f2", "models", "tui.keys.models"),
        Binding("f3", "adapters", "tui.keys.adapters"),
        Binding("f4", "fold", "tui.keys.fold"),
        Binding("alt+y", "copy_reply", "tui.keys.copy_reply"),
        Binding("alt+k", "copy_code", "tui.keys.copy_code"),
        Binding("alt+a", "copy_all", "tui.keys.copy_all"),
        Binding("alt+m", "markdown", "tui.keys.markdown"),
        Binding("f5", "think", "tui.keys.think"),
        Binding("f8", "token_panel", "tui.keys.token_panel"),
        Binding("f9", "chat_model", "tui.keys.chat_model"),
        Binding("f10", "server_model", "tui.keys.server_model"),
        Binding("ctrl+g", "download", "tui.keys.download"),
        Binding("ctrl+t", "toggle_theme", "tui.keys.theme"),
        Binding("ctrl+c", "copy_or_stop", "tui.keys.copy"),
        Binding("f1", "help", "tui.keys.help"),
    ]

    def action_scroll_pages(self, pages: int) -> None:
        self._conversation.scroll_pages(pages)

    def action_follow(self) -> None:
        self._conversation.follow()

    def action_take_example(self, query: str) -> None:
        self._box.set_query(query)

    async def action_continue(self) -> None:
        if self.app.turns.conversation is None and self._last is not None:
            await self.open_conversation(self._last.id)

    def action_stop(self) -> None:
        turns = self.app.turns
        if self._box.hide_completions() or self.leave_rewriting():
            return
        if not turns.is_replying and turns.cancel_load():
            return
        queries = turns.stop()
        self._give_back(queries)
        self._draw_reply()
        if turns.is_replying and not turns.is_replying_here and not queries:
            self._tell_user(say("tui.hint.stop_elsewhere"), "information")

    async def action_new(self) -> None:
        await self.show_new()

    def action_regenerate(self) -> None:
        view = self._conversation.chosen
        if self.app.turns.is_replying_here:
            self._tell_user(say("tui.hint.stop_first"), "information")
        elif view is not None:
            self.app.turns.regenerate(view.round)

    async def action_version(self, step: int) -> None:
        """Look at another version of the chosen round, else of the last that has several."""
        round_ = self._conversation.branching_round
        if round_ is not None:
            await self._look_at_version(round_, step)

    @on(RoundList.VersionRequested)
    async def _on_version_requested(self, event: RoundList.VersionRequested) -> None:
        await self._look_at_version(event.round, event.step)

    async def _look_at_version(self, round_: Round, step: int) -> None:
        if self.app.turns.is_replying_here:
            return
        with self.reporting_errors():
            rounds = await self.app.turns.go_to_version(round_, step)
            if rounds:
                await self._show_rounds(rounds)
                place = [each.parent_id for each in rounds].index(round_.parent_id)
                if place < len(rounds) - 1:
                    self._conversation.choose_round(rounds[place].id)

    def action_copy_or_stop(self) -> None:
        selected = self.get_selected_text()
        if selected:
            self.app.copy(selected)
        elif self.app.turns.is_replying_here:
            self.action_stop()
        else:
            self._tell_user(say("tui.hint.quit"), "information")

    def action_think(self) -> None:
        """Switch thinking: as the model has it, off, on, and again."""
        turns = self.app.turns
        if turns.loaded is None or not turns.loaded.can_switch_thinking:
            self._tell_user(say("tui.hint.no_thinking_switch"), "information")
            return
        turns.think = {None: False, False: True, True: None}[turns.think]
        self._show_thinking()

    def action_toggle_theme(self, name: str = "") -> None:
        """Take this theme, or a light or dark one, until the app ends; the settings keep one."""
        app = self.app
        if not name:
            app.theme = "chatui-light" if app.current_theme.dark else "chatui"
        elif name in app.available_themes:
            app.theme = name
            self._tell_user(say("organise.theme.taken", name=name), "information")
        else:
            names = ", ".join(sorted(app.available_themes))
            words = say("organise.theme.unknown", name=in_quotes(name), names=names)
            self._tell_user(words, "information")

    def action_help(self) -> None:
        from chatui.tui.screens.help import HelpScreen

        mro = reversed(type(self).__mro__)
        owners = (*(each for each in mro if issubclass(each, EditActions)), type(self.app))
        bindings = [key for each in owners for key in each.__dict__.get("BINDINGS", ())]
        self.app.push_screen(HelpScreen(bindings))

    async def action_models(self, name: str = "") -> None:
        """Give the next round to the model of this name, or to one from the list."""
        await (picking.switch_to(self.app, name) if name else picking.choose_model(self.app))

    async def action_adapters(self, path: str = "") -> None:
        """Put this adapter alone on the model, or choose from the list."""
        await (picking.put_on(self.app, path) if path else picking.choose_adapters(self.app))

    def action_fold(self) -> None:
        """Open or fold the thoughts and commands of the last reply that has some."""
        view = self._conversation.last_with_folds
        if view is not None:
            view.toggle_folds()
        else:
            self._tell_user(say("tui.fold.none"), "information")

    def action_markdown(self) -> None:
        """Show replies as Markdown, or as they were written."""
        is_markdown = self._conversation.toggle_markdown()
        if is_markdown is None:
            words = say("tui.rewrite.nothing")
        else:
            words = say("tui.hint.markdown") if is_markdown else say("tui.hint.plain")
        self._tell_user(words, "information")

    @work
    async def action_chat_model(self) -> None:
        """Switch to the model that the welcome suggests, or offer to fetch it."""
        from chatui.tui.screens import questions

        chat_model = None if self.found is None else self.found.chat_model
        if chat_model is None:
            await picking.choose_model(self.app)
        elif chat_model.usable:
            await picking.switch_to(self.app, chat_model.reference)
        else:
            bar = self.query_one(FetchBar)
            download = await questions.offer_to_fetch(
                self.app, bar, chat_model, lambda words: self._tell_user(words, "information")
            )
            if download is not None:
                bar.begin(download)

    @work
    async def action_server_model(self) -> None:
        """Switch to the model of the server that was found."""
        model = None if self.found is None else self.found.server_model
        if model is None:
            self._tell_user(say("tui.hint.no_server"), "information")
        else:
            await picking.switch_to(self.app, model.reference)

    async def action_token_panel(self) -> None:
        """Open the panel of tokens and give it the keys, or close it."""
        from chatui.tui.widgets.token_panel import TokenPanel

        panel = TokenPanel(self.app.turns, self.app.store, self._conversation)
        await self.toggle_panel(panel, "SettingsPanel")

    def action_download(self) -> None:
        if not self.query_one(FetchBar).stop_or_choose():
            self._tell_user(say("tui.fetch.none"), "information")

    @on(FetchBar.Chosen)
    @work
    async def _take_fetched(self, event: FetchBar.Chosen) -> None:
        await picking.switch_to(self.app, event.name)

    async def action_conversations(self, words: str = "") -> None:
        """List the conversations, or those in which these words occur."""
        await picking.choose_conversation(self, words)
