"""Read training dialogues from files in any known format and from saved conversations.

A correction counts as good and the reply that it corrects as bad, unless the user rated them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from chatui.conversation.conversation_files import ConversationFiles, FileRecord, SkippedRecord
from chatui.conversation.dialogues import (
    Dialogue,
    PreferencePair,
    dialogue_from_rounds,
    is_unfinished,
)
from chatui.conversation.rounds import Conversation, Rating, Round, Transcript, path_to
from chatui.conversation.store import Store
from chatui.locales import say
from chatui.prompting.parts import reply_for_history


@dataclass(frozen=True)
class ReplyFilter:
    """Conditions on replies.

    Attributes:
        rating: 1 or -1; None takes all replies on the path to the conversation's head.
        tags: the conversation must have all of them.
        model: part of the name of the model that replied, ignoring case.
        since, until: seconds since the epoch; the round began at ``since`` or later, before
            ``until``.
    """

    rating: Rating | None = None
    tags: tuple[str, ...] = ()
    model: str = ""
    since: float = float("-inf")
    until: float = float("inf")

    def matches_conversation(self, conversation: Conversation) -> bool:
        """True if the conversation has all tags."""
        return set(self.tags) <= set(conversation.tags)

    def matches(self, round_: Round, ratings: Mapping[int, Rating]) -> bool:
        """True if the reply of a round meets the conditions.

        Args:
            ratings: by round id; see :func:`effective_ratings`.
        """
        return (
            self.rating in (None, ratings[round_.id])
            and self.model.casefold() in round_.model.casefold()
            and self.since <= round_.started_at < self.until
        )


ALL_REPLIES = ReplyFilter()


@dataclass
class DialogueSources(ConversationFiles):
    """Dialogues of files and saved conversations, read one after another in constant memory.

    Attributes:
        store: holds the conversations; None if there are none.
        conversations: ids of saved conversations.
        reply_filter: which replies to train on. Other files than transcripts lack ratings, models
            and times; with a filter, their dialogues are skipped.
    """

    store: Store | None = None
    conversations: Sequence[int] = ()
    reply_filter: ReplyFilter = ALL_REPLIES

    def fingerprint(self) -> str:
        """Return a hash that changes with the files, the conversations and the filter."""
        versions: list[object] = [self.encoding, asdict(self.reply_filter)]
        for file in self.files:
            stat = file.stat()
            versions += [str(file.resolve()), stat.st_size, stat.st_mtime_ns]
        for id in self.conversations:
            assert self.store is not None
            about = self.store.conversation(id)
            versions += [id, about.updated_at, about.head_id, about.tags]
            if self.reply_filter.rating is not None:
                versions += [(one.id, one.rating) for one in self.store.all_rounds(id)]
        return hashlib.sha256(json.dumps(versions).encode()).hexdigest()

    def __iter__(self) -> Iterator[Dialogue | SkippedRecord]:
        """Yield the dialogues, always in the same order.

        Raises:
            ChatuiError: a file or a conversation cannot be read.
        """
        for found in self._found(wholes_only=self.reply_filter != ALL_REPLIES):
            if isinstance(found, Transcript):
                yield from matching_dialogues(found, self.reply_filter)
            else:
                yield found

    def pairs(self) -> Iterator[PreferencePair | SkippedRecord]:
        """Yield the preference pairs; raises as ``__iter__`` does."""
        for found in self._found(wholes_only=True):
            if isinstance(found, Transcript):
                yield from preference_pairs(found, self.reply_filter)
            elif isinstance(found, SkippedRecord):
                yield found

    def _found(self, *, wholes_only: bool) -> Iterator[FileRecord]:
        """Yield everything in order.

        Args:
            wholes_only: skip dialogues without ratings and models, once a file with a message.
        """
        reported: set[Path] = set()
        for file, found in self.read():
            if not (wholes_only and isinstance(found, Dialogue)):
                yield found
            elif file not in reported:
                reported.add(file)
                yield SkippedRecord(say("dataset.only_texts", path=file))
        for id in self.conversations:
            assert self.store is not None
            rounds = self.store.all_rounds if wholes_only else self.store.rounds
            yield Transcript(self.store.conversation(id), rounds(id))


def effective_ratings(rounds: Sequence[Round]) -> dict[int, Rating]:
    """Return the ratings of a conversation's replies by round id, those of corrections included."""
    corrected = {each.corrects_id for each in rounds}

    def implied(round_: Round) -> Rating:
        if round_.id in corrected:
            return -1
        return 0 if round_.corrects_id is None else 1

    return {each.id: each.rating or implied(each) for each in rounds}


def matching_dialogues(whole: Transcript, reply_filter: ReplyFilter) -> Iterator[Dialogue]:
    """Yield the dialogues of a conversation that contain matching replies.

    The first one is the path to the head; all its matching replies are trained on. With a rating
    as a condition, each matching reply outside the path follows with the rounds before it.
    """
    if not reply_filter.matches_conversation(whole.conversation):
        return
    by_id = {each.id: each for each in whole.rounds}
    path = path_to(by_id, whole.conversation.head_id)
    if reply_filter == ALL_REPLIES:
        yield dialogue_from_rounds(path)
        return
    ratings = effective_ratings(whole.rounds)
    matching = {each.id for each in whole.rounds if reply_filter.matches(each, ratings)}
    on_path = {each.id for each in path}
    if matching & on_path:
        yield dialogue_from_rounds(path, on_path - matching)
    if reply_filter.rating is None:
        return
    for each in whole.rounds:
        if each.id in matching and each.id not in on_path:
            earlier = path_to(by_id, each.parent_id)
            yield dialogue_from_rounds([*earlier, each], {one.id for one in earlier})


def preference_pairs(whole: Transcript, reply_filter: ReplyFilter) -> Iterator[PreferencePair]:
    """Yield the preference pairs of a conversation.

    Among the replies to one query, each good one is preferred to each bad one, and a correction to
    the reply that it corrects. A stopped or cut-off reply is never preferred.

    Args:
        reply_filter: conditions on the preferred replies; its rating is ignored.
    """
    if not reply_filter.matches_conversation(whole.conversation):
        return
    by_id = {each.id: each for each in whole.rounds}
    ratings = effective_ratings(whole.rounds)
    versions: dict[tuple[int | None, str], list[Round]] = {}
    for each in whole.rounds:
        if reply_for_history(each.reply).strip():
            versions.setdefault((each.parent_id, each.query), []).append(each)
    reply_filter = replace(reply_filter, rating=None)
    for replies in versions.values():
        for good in replies:
            if is_unfinished(good) or not reply_filter.matches(good, ratings):
                continue
            for bad in replies:
                is_rated = ratings[good.id] > 0 > ratings[bad.id]
                if (is_rated or good.corrects_id == bad.id) and good.reply != bad.reply:
                    path = [*path_to(by_id, good.parent_id), good]
                    yield PreferencePair(dialogue_from_rounds(path), bad.reply)
