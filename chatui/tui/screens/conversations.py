"""Ctrl+B: all conversations, with a search through everything that was said."""

from __future__ import annotations

import asyncio
import time
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from chatui.conversation.rounds import Conversation
from chatui.conversation.search import Hit
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.tui.plain_text import plain_line, plain_text

_HITS = 200


def row(conversation: Conversation, hit: Hit | None, now: float) -> Content:
    """A conversation's two lines: its title, and when it was or where the text was found."""
    title = plain_line(conversation.title) or say("tui.title.new")
    then = time.localtime(conversation.updated_at)
    same_day = time.strftime("%Y%m%d", then) == time.strftime("%Y%m%d", time.localtime(now))
    when = time.strftime("%H:%M" if same_day else "%Y-%m-%d", then)
    about = say("tui.conversations.about", when=when, rounds=conversation.round_count)
    second = Content.styled(about, "$foreground-muted")
    if hit is not None and hit.where != "title":
        second = Content.assemble(
            Content.styled(plain_text(hit.before), "$foreground-muted"),
            Content.styled(plain_text(hit.match), "bold $accent"),
            Content.styled(plain_text(hit.after), "$foreground-muted"),
        )
    return Content.assemble(Content.styled(title, "bold"), "\n", second)


class ConversationsScreen(ModalScreen[int | None]):
    """Lists conversations, the last used first; gives the id of the chosen one.

    Attributes:
        deleted: ids of the conversations that were deleted here.
        renamed: whether any has a new title.
    """

    CSS_PATH = "picker.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move('cursor_up')", "tui.keys.list_up", priority=True),
        Binding("down", "move('cursor_down')", "tui.keys.list_down", priority=True),
        Binding("pageup", "move('page_up')", "tui.keys.list_page_up", priority=True),
        Binding("pagedown", "move('page_down')", "tui.keys.list_page_down", priority=True),
        Binding("enter", "choose", "tui.keys.choose_conversation", priority=True),
        Binding("ctrl+e", "rename", "tui.keys.rename", priority=True),
        Binding("ctrl+d", "delete", "tui.keys.delete", priority=True),
        Binding("escape,ctrl+b", "cancel", "tui.keys.close"),
    ]

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store
        self._shown: tuple[Conversation, ...] = ()
        self.deleted: set[int] = set()
        self.renamed = False

    def compose(self) -> ComposeResult:
        with Vertical(classes="picker") as box:
            box.border_title = say("tui.conversations.title")
            box.border_subtitle = say("tui.conversations.keys")
            yield Input(placeholder=say("tui.conversations.search"))
            yield OptionList(markup=False)
            yield Static(classes="empty", markup=False)

    def on_mount(self) -> None:
        self._show("")

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        self._show(event.value)

    @work(exclusive=True)
    async def _show(self, words: str) -> None:
        """List what matches; a search that is overtaken by the next key is dropped."""
        options = self.query_one(OptionList)
        empty = self.query_one(".empty", Static)
        try:
            found = await asyncio.to_thread(self._store.conversations, words)
            hits = await asyncio.to_thread(self._store.search, words, _HITS) if words else ()
        except ChatuiError as error:
            empty.update(Content(plain_line(str(error), 1000)))
            empty.display = True
            return
        first_hits: dict[int, Hit] = {}
        for hit in hits:
            first_hits.setdefault(hit.conversation_id, hit)
        self._shown = found
        now = time.time()
        options.clear_options()
        options.add_options(Option(row(each, first_hits.get(each.id), now)) for each in found)
        if found:
            options.highlighted = 0
        empty.update(Content(say("tui.conversations.none")))
        empty.display = not found

    def _highlighted(self) -> Conversation | None:
        index = self.query_one(OptionList).highlighted
        return self._shown[index] if index is not None and index < len(self._shown) else None

    def action_move(self, action: str) -> None:
        getattr(self.query_one(OptionList), f"action_{action}")()

    def action_choose(self) -> None:
        chosen = self._highlighted()
        if chosen is not None:
            self.dismiss(chosen.id)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index].id)

    @work
    async def action_rename(self) -> None:
        from chatui.tui.screens.questions import LineQuestion

        chosen = self._highlighted()
        if chosen is None:
            return
        question = say("tui.conversations.new_title")
        title = await self.app.push_screen_wait(LineQuestion(question, chosen.title))
        if title is None:
            return
        try:
            self._store.rename(chosen.id, title)
        except ChatuiError as error:
            self.app.notify(plain_line(str(error), 1000), severity="error", markup=False)
            return
        self.renamed = True
        self._show(self.query_one(Input).value)

    @work
    async def action_delete(self) -> None:
        from chatui.tui.screens.questions import YesNoQuestion

        chosen = self._highlighted()
        if chosen is None:
            return
        title = plain_line(chosen.title, 40) or say("tui.title.new")
        question = say("tui.conversations.delete", title=title, rounds=chosen.round_count)
        if not await self.app.push_screen_wait(YesNoQuestion(question)):
            return
        try:
            self._store.delete(chosen.id)
        except ChatuiError as error:
            self.app.notify(plain_line(str(error), 1000), severity="error", markup=False)
            return
        self.deleted.add(chosen.id)
        self._show(self.query_one(Input).value)

    def action_cancel(self) -> None:
        self.dismiss(None)
