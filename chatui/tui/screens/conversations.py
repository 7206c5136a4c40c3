"""Ctrl+B: all conversations, with a search through everything that was said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from chatui.conversation.rounds import Conversation
from chatui.conversation.store import Store
from chatui.conversation.text_search import Hit
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line, plain_text
from chatui.tui.screens.picker import Picker

_HITS = 200


def row(conversation: Conversation, hit: Hit | None, now: float) -> Content:
    """A conversation's two lines: its title, and when it was or where the text was found."""
    title = one_line(conversation.title) or say("tui.title.new")
    then = time.localtime(conversation.updated_at)
    same_day = time.strftime("%Y%m%d", then) == time.strftime("%Y%m%d", time.localtime(now))
    when = time.strftime("%H:%M" if same_day else "%Y-%m-%d", then)
    about = say("tui.conversations.about", when=when, rounds=conversation.round_count)
    if conversation.is_replying:
        about += " · " + say("tui.conversations.replying")
    second = Content.styled(about, "$foreground-muted")
    if hit is not None and hit.where != "title":
        second = Content.assemble(
            Content.styled(plain_text(hit.before), "$foreground-muted"),
            Content.styled(plain_text(hit.match), "bold $accent"),
            Content.styled(plain_text(hit.after), "$foreground-muted"),
        )
    return Content.assemble(Content.styled(title, "bold"), "\n", second)


class ConversationsScreen(Picker[int | None, Conversation]):
    """Lists conversations, the last used first; gives the id of the chosen one.

    Attributes:
        deleted: ids of the conversations that were deleted here.
        renamed: whether any has a new title.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+e", "rename", "tui.keys.rename", priority=True),
        Binding("ctrl+d", "delete", "tui.keys.delete", priority=True),
        Binding("ctrl+b", "cancel", "tui.keys.close"),
    ]

    def __init__(self, store: Store, before_delete: Callable[[int], None]) -> None:
        """
        Args:
            before_delete: called with the id of a conversation that is about to be deleted.
        """
        super().__init__(
            say("tui.conversations.title"),
            say("tui.conversations.keys"),
            say("tui.conversations.search"),
        )
        self._store = store
        self._before_delete = before_delete
        self._overtaken = threading.Event()
        self.deleted: set[int] = set()
        self.renamed = False

    async def find(self, words: str) -> None:
        """List what matches, and where it was found."""
        self._overtaken.set()
        overtaken = self._overtaken = threading.Event()
        store = self._store
        try:
            found = await asyncio.to_thread(store.conversations, words, overtaken=overtaken)
            hits: tuple[Hit, ...] = ()
            if words:
                hits = await asyncio.to_thread(store.search, words, _HITS, overtaken)
        except ChatuiError as error:
            self.say(str(error))
            return
        first_hits: dict[int, Hit] = {}
        for hit in hits:
            first_hits.setdefault(hit.conversation_id, hit)
        now = time.time()
        rows = [row(each, first_hits.get(each.id), now) for each in found]
        self.show(found, rows, 0, say("tui.conversations.none"))

    def choose(self, item: Conversation) -> None:
        self.dismiss(item.id)

    def on_unmount(self) -> None:
        self._overtaken.set()

    @work
    async def action_rename(self) -> None:
        from chatui.tui.screens.questions import LineQuestion

        chosen = self.highlighted
        if chosen is None:
            return
        question = say("tui.conversations.new_title")
        title = await self.app.push_screen_wait(LineQuestion(question, chosen.title))
        if title is None:
            return
        try:
            await self._store.queued(self._store.rename, chosen.id, title)
        except ChatuiError as error:
            self.app.notify(one_line(str(error), 1000), severity="error", markup=False)
            return
        self.renamed = True
        self.search(self.words)

    @work
    async def action_delete(self) -> None:
        from chatui.tui.screens.questions import YesNoQuestion

        chosen = self.highlighted
        if chosen is None:
            return
        title = one_line(chosen.title, 40) or say("tui.title.new")
        question = say("tui.conversations.delete", title=title, rounds=chosen.round_count)
        if not await self.app.push_screen_wait(YesNoQuestion(question)):
            return
        self._before_delete(chosen.id)
        try:
            await self._store.queued(self._store.delete, chosen.id)
        except ChatuiError as error:
            self.app.notify(one_line(str(error), 1000), severity="error", markup=False)
            return
        self.deleted.add(chosen.id)
        self.search(self.words)
