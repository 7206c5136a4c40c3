"""Actions that open lists, panels and views of conversations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.widgets import Input

from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.tui.comparison import Column
from chatui.tui.screens.command_actions import CommandActions

if TYPE_CHECKING:
    from chatui.tui.screens.picker import ConversationPicker
    from chatui.tui.screens.variant_picker import Variant
    from chatui.tui.widgets.conversation_list import ChosenConversation, ConversationList
    from chatui.tui.widgets.side_bar import SideBar


class ViewActions(CommandActions):
    """Opens views beside or over the conversation."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "continue", "tui.keys.last_conversation"),
        Binding("ctrl+b", "conversations", "tui.keys.conversations"),
        Binding("alt+l", "side_bar", "organise.keys.side_bar"),
        Binding("ctrl+f", "find", "organise.keys.find", priority=True),
        Binding("alt+d", "compare", "overview.keys.compare"),
        Binding("alt+t", "tree", "overview.keys.tree"),
        Binding("alt+w", "tell_context", "overview.keys.context"),
        Binding("f8", "token_panel", "tui.keys.token_panel"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._picker: ConversationPicker | None = None

    def _after_first_paint(self) -> None:
        super()._after_first_paint()
        if self.app.settings.side_bar:
            self._open_side_bar()

    @work
    async def _open_side_bar(self) -> None:
        await self.action_side_bar()
        self._box.focus()

    async def action_continue(self) -> None:
        """Open the conversation used last."""
        if self.app.turns.conversation is None and self._last is not None:
            await self.open_conversation(self._last.id)

    async def action_conversations(self, words: str = "") -> None:
        """List the conversations, or those that contain ``words``."""
        from chatui.tui.screens.picker import ConversationPicker

        picker = ConversationPicker(self.app.store, self.app.turns.drop_conversation)
        self._picker = picker
        await self.show_picker(picker, self._open_chosen)
        if words:
            picker.query_one(Input).value = words

    async def action_side_bar(self) -> None:
        """Open the side bar and focus it, or close it."""
        from chatui.tui.widgets.side_bar import SideBar

        turns = self.app.turns
        await self.toggle_panel(SideBar(self.app.store, turns.drop_conversation, turns.current.id))

    def refresh_lists(self) -> None:
        from chatui.tui.widgets.side_bar import SideBar

        if self._picker is not None and self._picker.is_current:
            self._picker.search(self._picker.words)
        for bar in self.query(SideBar):
            bar.show_open(self.app.turns.current.id)

    async def on_side_bar_chosen(self, event: SideBar.Chosen) -> None:
        self._box.focus()
        await self.query("SideBar.-narrow").remove()
        await self._open_chosen(event.place)

    async def on_conversation_list_deleted(self, event: ConversationList.Deleted) -> None:
        if self.app.turns.current.id == event.conversation_id:
            await self.show_new()

    async def on_conversation_list_renamed(self) -> None:
        await self.reload_title()

    async def _open_chosen(self, chosen: ChosenConversation) -> None:
        """Open a conversation, and find in it what the list was searched for."""
        await self.open_conversation(chosen.conversation_id, chosen.round_id)
        if chosen.words:
            await self.action_find(chosen.words, chosen.round_id)

    async def action_find(self, words: str = "", round_id: int | None = None) -> None:
        """Open the find bar, or focus it.

        Args:
            words: the text to find; "" lets the user type it.
            round_id: the round to begin with.
        """
        from chatui.tui.widgets.find_bar import FindBar

        if words:
            await self.query(FindBar).remove()
        if opened := self.query(FindBar):
            opened.first().query_one("Input").focus()
        else:
            await self.mount(FindBar(self._conversation, words, round_id), before=self._box)

    @work
    async def action_write_title(self, title: str = "") -> None:
        """Give the conversation this title, or let the model write one."""
        id_ = self.app.turns.current.id
        if id_ is None:
            self.app.hint("tui.rewrite.nothing")
            return
        with self.reporting_errors():
            title = title or await self.app.turns.write_title()
            await self.app.store.queued(self.app.store.rename, id_, title)
        await self.reload_title()
        self.refresh_lists()

    async def action_compare(self, query: str = "") -> None:
        """Compare replies to this query, else to the query box's or the chosen round's."""
        from chatui.tui.screens.variant_picker import VariantPicker

        from_box = not query
        query = query or self._box.query_text.strip()
        turns, view = self.app.turns, self._conversation.chosen
        if turns.is_replying or turns.unsent_texts:
            self.app.hint("overview.compare.first")
            if query and not from_box:
                self._give_back((query,))
            return
        sibling: Round | None = None if query or view is None else view.round
        if not query and sibling is None:
            self.edit_in_box("", say("overview.compare.query"), self.action_compare)
            return

        def take(chosen: tuple[Variant, ...]) -> None:
            if from_box and query:
                self._box.set_query("")
            self._begin_comparison(query, sibling, chosen)

        def cancel() -> None:
            self._give_back((query,) if query and not from_box else ())

        with self.reporting_errors():
            versions: tuple[Round, ...] = ()
            if sibling is not None:
                versions = await asyncio.to_thread(self.app.store.siblings, sibling.id)
            title = query if sibling is None else sibling.query
            screen = VariantPicker(title, turns.current.changes, versions, sibling)
            await self.show_picker(screen, take, cancel)

    @work
    async def _begin_comparison(
        self, query: str, sibling: Round | None, chosen: tuple[Variant, ...]
    ) -> None:
        from chatui.tui.screens.compare import CompareScreen
        from chatui.tui.screens.variant_picker import make_column

        turns = self.app.turns
        with self.reporting_errors(*([query] if query else [])):
            text = await self.insert_files(query) if sibling is None else sibling.query
            columns = [await make_column(each, self.app.settings) for each in chosen]
            comparison = turns.compare(text, tuple(columns), sibling)
            screen = CompareScreen(turns, comparison)
            column: Column | None = await self.app.push_screen_wait(screen)
            rounds = await turns.close_comparison(comparison, column)
            if rounds:
                await self._show_rounds(rounds)
            elif query:
                self._give_back((query,))
                self.app.hint("overview.compare.nothing")

    async def action_tree(self) -> None:
        """Show the conversation as a tree, and go to the round that the user chooses."""
        from chatui.tui.screens.picker import TreePicker

        conversation_id = self.app.turns.current.id
        if conversation_id is None:
            self.app.hint("tui.rewrite.nothing")
            return
        path = self._conversation.round_ids
        await self.show_picker(TreePicker(conversation_id, path), self._go_to)

    async def _go_to(self, round_: Round) -> None:
        """Show a round of this conversation, on its own branch."""
        if round_.id not in self._conversation.round_ids:
            if self.app.turns.is_replying_here:
                self.app.hint("overview.tree.running")
                return
            with self.reporting_errors():
                await self._show_rounds(await self.app.turns.go_to_round(round_))
        if (ids := self._conversation.round_ids) and round_.id in ids:
            self._conversation.choose_round(None if round_.id == ids[-1] else round_.id)

    @work
    async def action_replay(self) -> None:
        """Replay the conversation, and continue from the point that the user chooses."""
        from chatui.conversation.continued_reply import resume
        from chatui.conversation.playback import Player
        from chatui.tui.screens.replay_screen import ReplayScreen

        id_, store = self.app.turns.current.id, self.app.store
        if id_ is None or self.app.turns.is_replying_here:
            self.app.hint("tui.rewrite.nothing" if id_ is None else "tui.hint.stop_first")
            return
        with self.reporting_errors():
            whole = await asyncio.to_thread(store.transcript, id_)
            player = await asyncio.to_thread(Player, whole)
            screen = ReplayScreen(player, whole.conversation.title)
            point = await self.app.push_screen_wait(screen)
            if point is not None:
                await store.queued(resume, store, whole, point)
                await self.open_conversation(id_)

    def action_tell_context(self) -> None:
        """Show how full the context is, what is in it, and what is dropped next."""
        status, view = self._status, self._conversation.last
        if view is None or not status.context_used:
            self.app.hint("tui.command.no_context")
            return
        used, limit = status.context_used, status.context_limit
        reply = self.app.turns.reply_here
        round_ = view.round
        counts = reply.round if reply is not None and reply.begun_round.id == round_.id else round_
        lines = [
            say(
                "tui.command.context" if limit else "tui.command.context_used",
                used=used,
                limit=limit,
                prompt=counts.prompt_tokens,
                reused=counts.reused_tokens,
                reply=counts.output_tokens,
            )
        ]
        if status.context is not None:
            from chatui.tui.context_use import describe

            lines += describe(status.context, used, limit)
        self.app.tell_user("\n".join(lines), "information")

    async def action_token_panel(self) -> None:
        """Open the token panel and focus it, or close it."""
        from chatui.tui.widgets.token_panel import TokenPanel

        panel = TokenPanel(self.app.turns, self.app.store, self._conversation)
        await self.toggle_panel(panel, "SettingsPanel")
