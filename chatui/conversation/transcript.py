"""Transcripts: complete conversations, and how they are written as JSON Lines.

``docs/transcript.md`` describes the format and ``docs/transcript.schema.json`` defines it.
:mod:`.transcript_events` defines the lines, :mod:`.transcript_reader` reads them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chatui.conversation import transcript_events as events
from chatui.conversation.rounds import Conversation, Piece, Round, path_to
from chatui.conversation.store import Store
from chatui.conversation.transcript_events import PromptMark, to_line


@dataclass(frozen=True)
class Transcript:
    """A whole conversation.

    Attributes:
        conversation: its ``head_id`` is one of ``rounds``, or None.
        rounds: all versions, a parent before its children.
        pieces: by round id; a round may have none.
        prompts: hashes of the prompts, by round id.
        others: events that do not describe rounds, as read: models and unknown types.
    """

    conversation: Conversation
    rounds: tuple[Round, ...]
    pieces: Mapping[int, tuple[Piece, ...]] = field(default_factory=dict)
    prompts: Mapping[int, PromptMark] = field(default_factory=dict)
    others: tuple[Mapping[str, Any], ...] = ()

    def path(self) -> tuple[Round, ...]:
        """Return the rounds from the first to the head."""
        return path_to({each.id: each for each in self.rounds}, self.conversation.head_id)


def from_store(store: Store, conversation_id: int) -> Transcript:
    """Return the transcript of a saved conversation."""
    conversation, rounds, pieces = store.full_conversation(conversation_id)
    prompts = {each.id: prompt for each in rounds if (prompt := store.prompt(each.id))}
    marks = {id: events.mark_prompt(each.text, each.dropped_rounds) for id, each in prompts.items()}
    return Transcript(conversation, rounds, pieces, marks)


def dumps(transcript: Transcript) -> str:
    """Return the transcript as text. Round ids count from 1, in the order of the rounds."""
    return "".join(to_lines(transcript))


def to_lines(transcript: Transcript) -> Iterator[str]:
    """Yield the lines of a transcript."""
    conversation = transcript.conversation
    start = min((each.started_at for each in transcript.rounds), default=conversation.created_at)
    numbers = {each.id: number for number, each in enumerate(transcript.rounds, 1)}
    yield to_line(events.header(conversation, start))
    others = sorted((_renumbered(each, numbers) for each in transcript.others), key=_time)
    for each in heapq.merge(others, _events(transcript, numbers, start), key=_time):
        yield to_line(each)


def _time(event: Any) -> float:
    return float(event["t"] if isinstance(event, dict) else event.t)


def _events(
    transcript: Transcript, numbers: Mapping[int, int], start: float
) -> Iterator[events.Event]:
    ended = 0.0
    for each in transcript.rounds:
        began = each.started_at - start
        number = numbers[each.id]
        yield events.query(each, number, numbers.get(each.parent_id or 0), began)
        if (corrected := numbers.get(each.corrects_id or 0)) is not None:
            yield events.event(events.EditEvent, began, number, corrected)
        mark = transcript.prompts.get(each.id)
        if each.prompt_tokens or each.reused_tokens or mark:
            yield events.prompt(number, began, each.prompt_tokens, each.reused_tokens, mark)
        pieces = transcript.pieces.get(each.id, ())
        for piece in pieces:
            yield events.token(piece, number, began)
        ended = began + each.seconds
        if each.state != "streaming":
            yield events.stop(each, number, ended, "".join(piece.text for piece in pieces))
        if each.rating:
            yield events.event(events.RatingEvent, ended, number, each.rating)
        if each.note:
            yield events.event(events.NoteEvent, ended, number, each.note)
    head = transcript.conversation.head_id
    if transcript.rounds and head is not None and head != transcript.rounds[-1].id:
        yield events.event(events.BranchEvent, ended, numbers[head])


def _renumbered(other: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    round_id = other.get("round")
    number = numbers.get(round_id) if isinstance(round_id, int) else None
    return dict(other) if number is None else {**other, "round": number}
