"""Which replies of saved conversations and transcripts go out, by what the user thinks of them.

A correction counts as good and the reply that it corrects as bad, unless the user rated them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from chatui.conversation.dialogues import Dialogue, is_unfinished, of_rounds
from chatui.conversation.rounds import Conversation, Rating, Round, path_to
from chatui.prompting.parts import reply_for_history


@dataclass(frozen=True)
class ReplyChoice:
    """What a reply must be to go out.

    Attributes:
        rating: 1 or -1; None takes every reply of the path that is looked at.
        tags: of the conversation: all of these.
        model: part of the name of the model that replied, in any case.
        since, until: seconds since the epoch; rounds that began from the one on, before the other.
    """

    rating: Rating | None = None
    tags: tuple[str, ...] = ()
    model: str = ""
    since: float = float("-inf")
    until: float = float("inf")

    def takes(self, conversation: Conversation) -> bool:
        """Whether replies of a conversation go out at all."""
        return set(self.tags) <= set(conversation.tags)

    def allows(self, round_: Round, opinions: Mapping[int, Rating]) -> bool:
        """Whether a reply goes out."""
        return (
            self.rating in (None, opinions[round_.id])
            and self.model.casefold() in round_.model.casefold()
            and self.since <= round_.started_at < self.until
        )


EVERY_REPLY = ReplyChoice()


@dataclass(frozen=True)
class PreferencePair:
    """Two replies to one query, of which the user prefers the first.

    Attributes:
        dialogue: the rounds up to the query, with the preferred reply.
        rejected: the other reply.
    """

    dialogue: Dialogue
    rejected: str


def opinions_of(rounds: Sequence[Round]) -> dict[int, Rating]:
    """What the user thinks of each of a conversation's replies, by the round's id."""
    corrected = {each.corrects_id for each in rounds}
    return {each.id: each.rating or _implied(each, corrected) for each in rounds}


def _implied(round_: Round, corrected: set[int | None]) -> Rating:
    if round_.id in corrected:
        return -1
    return 0 if round_.corrects_id is None else 1


def dialogues_of(
    conversation: Conversation, rounds: Sequence[Round], choice: ReplyChoice
) -> Iterator[Dialogue]:
    """The dialogues of a conversation whose replies are learned.

    First the path that is looked at, of which all replies that ``choice`` allows are learned; where
    replies are chosen by their rating, then those beside the path, each with what leads to it.

    Args:
        rounds: all versions, a parent before its children.
    """
    if not choice.takes(conversation):
        return
    by_id = {each.id: each for each in rounds}
    opinions = opinions_of(rounds)
    path = path_to(by_id, conversation.head_id)
    if choice == EVERY_REPLY:
        yield of_rounds(path)
        return
    left_out = {each.id for each in path if not choice.allows(each, opinions)}
    if len(left_out) < len(path):
        yield of_rounds(path, left_out)
    on_path = {each.id for each in path}
    for each in rounds:
        if choice.rating is None or each.id in on_path or not choice.allows(each, opinions):
            continue
        above = path_to(by_id, each.parent_id)
        yield of_rounds([*above, each], {one.id for one in above})


def pairs_of(
    conversation: Conversation, rounds: Sequence[Round], choice: ReplyChoice
) -> Iterator[PreferencePair]:
    """The preference pairs of a conversation.

    Among the replies to one query each good one is preferred to each bad one, and a correction to
    what it corrects. A reply that was stopped or cut is never preferred.

    Args:
        rounds: all versions, a parent before its children.
        choice: of the preferred replies.
    """
    if not choice.takes(conversation):
        return
    by_id = {each.id: each for each in rounds}
    opinions = opinions_of(rounds)
    versions: dict[tuple[int | None, str], list[Round]] = {}
    for each in rounds:
        if reply_for_history(each.reply).strip():
            versions.setdefault((each.parent_id, each.query), []).append(each)
    choice = replace(choice, rating=None)
    for together in versions.values():
        for good in together:
            if is_unfinished(good) or not choice.allows(good, opinions):
                continue
            for bad in together:
                is_rated = opinions[good.id] > 0 > opinions[bad.id]
                if (is_rated or good.corrects_id == bad.id) and good.reply != bad.reply:
                    path = [*path_to(by_id, good.parent_id), good]
                    yield PreferencePair(of_rounds(path), bad.reply)
