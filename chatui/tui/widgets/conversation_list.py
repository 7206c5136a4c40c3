"""The list of conversations by day, with a full-text search."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any, ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message

from chatui.conversation.rounds import Conversation
from chatui.conversation.store import Store
from chatui.conversation.text_search import SearchHit
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.readable import local_time
from chatui.text import one_line, plain_text
from chatui.tui.model_names import display_name
from chatui.tui.widgets.pick_list import ListRow, PickList

_MAX_HITS = 100


@dataclass(frozen=True)
class ChosenConversation:
    """A conversation to open, and the search match to show in it.

    Attributes:
        round_id: the round with the first match; None if the conversation was not searched for.
        words: the text that was searched for.
    """

    conversation_id: int
    round_id: int | None = None
    words: str = ""


def day_of(conversation: Conversation, now: float) -> str:
    """Return the day on which a conversation was last used: "today", "yesterday" or a date."""
    then = local_time(conversation.updated_at).date()
    days = (date.fromtimestamp(now) - then).days
    words = {0: "today", 1: "yesterday"}.get(days)
    return say(f"tui.conversations.{words}") if words else then.isoformat()


def conversation_row(
    conversation: Conversation, hit: SearchHit | None, *, is_open: bool
) -> ListRow[Conversation]:
    """Return a row of two lines below the day, or below "pinned" for those that come first.

    The lines are the title, and the details of the conversation or the text that matched.
    """
    title = one_line(conversation.title) or say("tui.title.new")
    # The title often is the first query; it is not shown twice.
    if hit is not None and hit.where != "title" and hit.snippet.strip("…") not in title:
        second = [
            (plain_text(hit.before), "$foreground-muted"),
            (plain_text(hit.match), "bold $accent"),
            (plain_text(hit.after), "$foreground-muted"),
        ]
    else:
        when = local_time(conversation.updated_at).strftime("%H:%M")
        about = (
            say("tui.conversations.about", when=when, rounds=conversation.round_count),
            one_line(display_name(conversation.model), 40) if conversation.model else "",
            say("organise.list.archived") if conversation.archived else "",
            say("tui.conversations.replying") if conversation.is_replying else "",
        )
        second = [(" · ".join(filter(None, about)), "$foreground-muted")]
    text = Content.assemble(
        (("▸ " if is_open else "") + title, "bold $accent" if is_open else "bold"),
        ("".join(f"  #{one_line(tag)}" for tag in conversation.tags), "$secondary"),
        "\n",
        *second,
    )
    pinned = conversation.pinned and say("organise.list.pinned")
    heading = pinned or day_of(conversation, time.time())
    return ListRow(conversation, text, Content.styled(heading, "bold $primary"))


def split_tag(words: str) -> tuple[str, str]:
    """Split a search into its text and its first tag, written ``#tag``; "" for no tag."""
    typed = words.split()
    tags = [word for word in typed if word[0] in "#＃" and len(word) > 1]
    if not tags:
        return words, ""
    return " ".join(word for word in typed if word not in tags), tags[0][1:]


class ConversationList(PickList[Conversation]):
    """Lists conversations to open, rename, pin, tag, archive and delete."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+e", "rename", "tui.keys.rename", priority=True),
        Binding("ctrl+d", "delete", "organise.keys.delete", priority=True),
        Binding("ctrl+z", "undelete", "organise.keys.undelete", priority=True),
        Binding("alt+p", "pin", "organise.keys.pin", priority=True),
        Binding("alt+t", "tag", "organise.keys.tag", priority=True),
        Binding("alt+h", "archive", "organise.keys.archive", priority=True),
        Binding("alt+v", "show_archive", "organise.keys.show_archive", priority=True),
    ]

    @dataclass
    class Deleted(Message):
        """A conversation was deleted."""

        conversation_id: int

    class Renamed(Message):
        """A conversation was renamed."""

    def __init__(
        self, store: Store, before_delete: Callable[[int], None], open_id: int | None = None
    ) -> None:
        """
        Args:
            before_delete: called with the id of a conversation before it is deleted.
            open_id: id of the open conversation, which is marked.
        """
        super().__init__(
            say("tui.conversations.title"),
            say("organise.list.keys"),
            say("organise.list.search"),
        )
        self._store = store
        self._before_delete = before_delete
        self._cancelled = threading.Event()
        self._hits: dict[int, SearchHit] = {}
        self._is_archive = False
        self._shown_words: str | None = None
        self._deleted: list[int] = []
        self.open_id = open_id

    async def find(self, words: str) -> None:
        """List the conversations that match, with the matching text."""
        self._cancelled.set()
        cancelled = self._cancelled = threading.Event()
        store, (text, tag) = self._store, split_tag(words)
        self._hits = {}
        if text.strip():
            pairs = await asyncio.to_thread(
                store.search_conversations, text, _MAX_HITS, cancelled, tag=tag
            )
            self._hits = {each.id: hit for each, hit in pairs}
            found: Sequence[Conversation] = [each for each, _ in pairs]
        else:
            found = await asyncio.to_thread(
                store.conversations, archived=self._is_archive, tag=tag, pinned_first=True
            )
        rows = [
            conversation_row(each, self._hits.get(each.id), is_open=each.id == self.open_id)
            for each in found
        ]
        none = "organise.list.no_archive" if self._is_archive else "organise.list.empty"
        none = "tui.conversations.none" if text.strip() or tag else none
        self.show(rows, say(none), self._to_highlight(found, words))
        self._shown_words = words

    def _to_highlight(self, found: Sequence[Conversation], words: str) -> Conversation | None:
        """Return the conversation highlighted before, or its successor; None for the first one."""
        before, by_id = self.highlighted, {each.id: each for each in found}
        if words != self._shown_words or before is None:
            return None if words or self.open_id is None else by_id.get(self.open_id)
        place = min(self.shown.index(before), len(found) - 1)
        return by_id.get(before.id) or (found[place] if found else None)

    def choice(self, item: Conversation) -> ChosenConversation:
        """Return a conversation of the list as the one to open, with its match."""
        hit = self._hits.get(item.id)
        if hit is None or hit.round_id is None:
            return ChosenConversation(item.id)
        return ChosenConversation(item.id, hit.round_id, split_tag(self.words)[0].strip())

    def on_unmount(self) -> None:
        self._cancelled.set()

    async def _write(self, write: Callable[..., Any], *args: Any, **kwargs: Any) -> bool:
        """Have the store write, refresh the list, and return True on success."""
        try:
            await self._store.queued(partial(write, *args, **kwargs))
        except ChatuiError as error:
            self.app.tell_user(str(error))
            return False
        finally:
            self.search(self.words)
        return True

    @work
    async def action_rename(self) -> None:
        from chatui.tui.screens.questions import LineQuestion

        if (chosen := self.highlighted) is None:
            return
        question = say("tui.conversations.new_title")
        title = await self.app.push_screen_wait(LineQuestion(question, chosen.title))
        if title is not None and await self._write(self._store.rename, chosen.id, title):
            self.post_message(self.Renamed())

    @work
    async def action_delete(self) -> None:
        if (chosen := self.highlighted) is None:
            return
        self._before_delete(chosen.id)
        if await self._write(self._store.delete, chosen.id):
            self._deleted.append(chosen.id)
            self.post_message(self.Deleted(chosen.id))
            title = one_line(chosen.title, 40) or say("tui.title.new")
            self.app.hint("organise.list.deleted", title=title)

    @work
    async def action_undelete(self) -> None:
        """Restore the last conversation deleted in this list."""
        if not self._deleted:
            self.app.hint("organise.list.nothing_deleted")
        elif await self._write(self._store.restore, self._deleted[-1]):
            self._deleted.pop()

    @work
    async def action_pin(self) -> None:
        if (chosen := self.highlighted) is not None:
            await self._write(self._store.organise, chosen.id, pinned=not chosen.pinned)

    @work
    async def action_archive(self) -> None:
        if (chosen := self.highlighted) is not None:
            await self._write(self._store.organise, chosen.id, archived=not chosen.archived)

    async def action_show_archive(self) -> None:
        """Switch between archived and other conversations."""
        self._is_archive = not self._is_archive
        self.search(self.words)

    @work
    async def action_tag(self) -> None:
        from chatui.tui.screens.questions import LineQuestion

        if (chosen := self.highlighted) is None:
            return
        question = say("organise.list.tags")
        try:
            tags = await asyncio.to_thread(self._store.tags)
        except ChatuiError as error:
            self.app.tell_user(str(error))
            return
        if tags:
            known = one_line(" ".join(f"#{tag}" for tag in tags), 300)
            question += "\n" + say("organise.list.known_tags", tags=known)
        value = " ".join(f"#{tag}" for tag in chosen.tags)
        words = await self.app.push_screen_wait(LineQuestion(question, value))
        if words is not None:
            await self._write(self._store.organise, chosen.id, tags=[words])
