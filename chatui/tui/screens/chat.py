"""The main screen.

:class:`ChatScreen` is one Textual screen whose code is divided by subject among a chain of classes.
Each extends the one above it:

======================= ==========================================================================
``ChatLayout``          the widgets, the welcome, the title and the status line
``ModelActions``        loading; models, adapters, thinking, downloads
``TurnDisplay``         the messages of the turns; the running reply; opening conversations
``EditActions``         editing queries and replies in the query box; ratings and notes
``QueryActions``        drafts, files in queries, the external editor, waiting queries
``ImportExportActions`` ``/import`` and ``/export``
``CommandActions``      slash commands, the settings of a conversation
``ViewActions``         lists of conversations, find bar, comparison, tree, replay, token panel
``ChatScreen``          stop, new conversation, regenerate, versions, copying, looks, help
======================= ==========================================================================
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from textual import on, work
from textual.binding import Binding, BindingType

from chatui.locales import say
from chatui.text import in_quotes
from chatui.tui.screens.chat_layout import ChatLayout
from chatui.tui.screens.view_actions import ViewActions
from chatui.tui.widgets.round_list import RoundList


class ChatScreen(ViewActions):
    """The main screen, with the keys of the conversation as a whole."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "tui.keys.stop"),
        Binding("ctrl+n", "new", "tui.keys.new"),
        Binding("ctrl+r", "regenerate", "tui.keys.regenerate"),
        Binding("alt+left", "version(-1)", "tui.keys.version_before"),
        Binding("alt+right", "version(1)", "tui.keys.version_after"),
        Binding("f4", "fold", "tui.keys.fold"),
        Binding("alt+y", "copy_reply", "tui.keys.copy_reply"),
        Binding("alt+k", "copy_code", "tui.keys.copy_code"),
        Binding("alt+a", "copy_all", "tui.keys.copy_all"),
        Binding("alt+m", "markdown", "tui.keys.markdown"),
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

    def action_stop(self) -> None:
        """Close what Esc closes first, or stop the load or the reply."""
        turns = self.app.turns
        if self._box.hide_completions() or self.cancel_edit():
            return
        if not turns.is_replying and turns.cancel_load():
            return
        queries = turns.stop()
        self._give_back(queries)
        self._draw_reply()
        if turns.is_replying and not turns.is_replying_here and not queries:
            self.app.hint("tui.hint.stop_elsewhere")

    async def action_new(self) -> None:
        await self.show_new()

    def action_regenerate(self) -> None:
        """Write the chosen reply again, as another version."""
        round_ = self.chosen_round("tui.hint.stop_first")
        if round_ is not None:
            self.app.turns.regenerate(round_)

    def action_version(self, step: int) -> None:
        """Show another version of the chosen round, or of the last round that has several."""
        round_ = self._conversation.branching_round
        if round_ is not None:
            self.post_message(RoundList.VersionRequested(round_, step))

    @on(RoundList.VersionRequested)
    async def _show_version(self, event: RoundList.VersionRequested) -> None:
        if self.app.turns.is_replying_here:
            return
        with self.reporting_errors():
            rounds = await self.app.turns.go_to_version(event.round, event.step)
            if rounds:
                await self._show_rounds(rounds)
                place = [each.parent_id for each in rounds].index(event.round.parent_id)
                if place < len(rounds) - 1:
                    self._conversation.choose_round(rounds[place].id)

    def action_copy_reply(self) -> None:
        """Copy the reply of the chosen round."""
        self.app.copy(self._chosen_reply_text(), say("tui.rewrite.nothing"))

    @work
    async def action_copy_code(self) -> None:
        """Copy the last code block of the chosen reply."""
        view = self._conversation.chosen
        # In a thread, because parsing a very long reply takes most of a second.
        code = "" if view is None else await asyncio.to_thread(lambda: view.last_code)
        self.post_message(RoundList.CodeClicked(code))

    @on(RoundList.CodeClicked)
    def _copy_code(self, event: RoundList.CodeClicked) -> None:
        self.app.copy(event.code, say("tui.hint.no_code"))

    @work
    async def action_copy_all(self) -> None:
        """Copy the conversation as Markdown."""
        from chatui.conversation import exports

        id_ = self.app.turns.current.id
        if id_ is None:
            self.app.hint("tui.rewrite.nothing")
            return
        with self.reporting_errors():
            whole = await asyncio.to_thread(self.app.store.transcript, id_)
            text = await asyncio.to_thread(exports.to_markdown, whole)
            self.app.copy(text)

    def action_copy_or_stop(self) -> None:
        selected = self.get_selected_text()
        if selected:
            self.app.copy(selected)
        elif self.app.turns.is_replying_here:
            self.action_stop()
        else:
            self.app.hint("tui.hint.quit")

    def action_toggle_theme(self, name: str = "") -> None:
        """Use this theme, or switch between dark and light, until the app ends."""
        app = self.app
        if not name:
            app.theme = "chatui-light" if app.current_theme.dark else "chatui"
        elif name in app.available_themes:
            app.theme = name
            self.app.hint("organise.theme.taken", name=name)
        else:
            names = ", ".join(sorted(app.available_themes))
            self.app.hint("organise.theme.unknown", name=in_quotes(name), names=names)

    def action_help(self) -> None:
        from chatui.tui.screens.help import HelpScreen

        parts = (each for each in type(self).__mro__ if issubclass(each, ChatLayout))
        owners = (*parts, type(self.app))
        bindings = [key for each in owners for key in each.__dict__.get("BINDINGS", ())]
        self.app.push_screen(HelpScreen(bindings))

    def action_fold(self) -> None:
        """Unfold or fold the thoughts and plugin commands of the last reply that has any."""
        view = self._conversation.last_with_folds
        if view is not None:
            view.toggle_folds()
        else:
            self.app.hint("tui.fold.none")

    def action_markdown(self) -> None:
        """Show replies as Markdown, or as plain text."""
        hints = {None: "tui.rewrite.nothing", True: "tui.hint.markdown", False: "tui.hint.plain"}
        self.app.hint(hints[self._conversation.toggle_markdown()])
