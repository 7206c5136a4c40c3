"""Ctrl+B: all conversations, with a search through everything that was said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from datetime import date
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
from chatui.tui.model_names import shown_name
from chatui.tui.screens.picker import Picker

_HITS = 200


def day_of(conversation: Conversation, now: float) -> str:
    """The day on which a conversation was last used, in words."""
    then = date.fromtimestamp(conversation.updated_at)
    days = (date.fromtimestamp(now) - then).days
    words = {0: "today", 1: "yesterday"}.get(days)
    return say(f"tui.conversations.{words}") if words else then.isoformat()


def day_headings(conversations: Sequence[Conversation], now: float) -> dict[int, Content]:
    """Each day above its first conversation."""
    headings = {}
    before = ""
    for index, conversation in enumerate(conversations):
        day = day_of(conversation, now)
        if day != before:
            headings[index] = Content.styled(day, "bold $primary")
        before = day
    return headings


def row(conversation: Conversation, hit: Hit | None) -> Content:
    """A conversation's two lines: its title, and about it or where the text was found."""
    title = one_line(conversation.title) or say("tui.title.new")
    when = time.strftime("%H:%M", time.localtime(conversation.updated_at))
    about = say("tui.conversations.about", when=when, rounds=conversation.round_count)
    if conversation.model:
        about += " · " + one_line(shown_name(conversation.model), 40)
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
        rows = [row(each, first_hits.get(each.id)) for each in found]
        headings = day_headings(found, time.time())
        self.show(found, rows, 0, say("tui.conversations.none"), headings)

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
