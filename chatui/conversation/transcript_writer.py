"""Write transcripts as JSON Lines.

``docs/transcript.md`` describes the format and ``docs/transcript.schema.json`` defines it.
:mod:`.transcript_events` defines the lines, :mod:`.transcript_reader` reads them.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Any

from chatui.conversation import transcript_events as events
from chatui.conversation.rounds import Transcript
from chatui.conversation.transcript_events import to_line


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
