"""Write transcripts as JSON Lines.

``docs/transcript.md`` describes the format and ``docs/transcript.schema.json`` defines it.
:mod:`.transcript_events` defines the lines, :mod:`.transcript_reader` reads them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from chatui import __version__
from chatui.conversation import transcript_events as events
from chatui.conversation.rounds import Piece, Round, Transcript
from chatui.conversation.transcript_events import DIGITS, FORMAT, VERSION, Event, Header, to_line


def to_lines(transcript: Transcript, *, is_open: bool = False) -> Iterator[str]:
    """Yield the lines of a transcript. Round ids count from 1, in the order of the rounds.

    Args:
        is_open: leave out the time of the last change, because other events will follow.
    """
    maker = EventMaker(transcript)
    about = transcript.conversation
    times = about.created_at, None if is_open else about.updated_at
    known = about.title, *times, about.pinned, about.archived, about.tags
    yield to_line(Header(FORMAT, VERSION, maker.start, __version__, *known))
    others = sorted((_renumbered(each, maker.numbers) for each in transcript.others), key=_time)
    for each in heapq.merge(others, _events(transcript, maker), key=_time):
        yield to_line(each)


class EventMaker:
    """Makes the events of the rounds of a conversation.

    Attributes:
        start: start of the transcript, in seconds since the epoch.
        numbers: the numbers of the rounds in the file, by id.
    """

    def __init__(self, transcript: Transcript) -> None:
        """Number the rounds of ``transcript`` from 1."""
        created_at = transcript.conversation.created_at
        self.start = min((each.started_at for each in transcript.rounds), default=created_at)
        self.numbers = {each.id: number for number, each in enumerate(transcript.rounds, 1)}

    def time(self, since_epoch: float, seconds: float = 0.0) -> float:
        """Return the time of an event ``seconds`` after a time in seconds since the epoch."""
        return round(since_epoch - self.start + seconds, DIGITS)

    def event(self, kind: type[Event], of: Round, seconds: float = 0.0, **values: Any) -> Event:
        """Return an event ``seconds`` after a round began, with the values of the round.

        Args:
            values: replace or complete those of the round.
        """
        names = kind.__struct_fields__[2:]
        own = {name: getattr(of, name) for name in names if hasattr(of, name)}
        return kind(self.time(of.started_at, seconds), self.numbers[of.id], **(own | values))

    def query(self, begun: Round) -> Iterator[Event]:
        """Yield the events that begin a round."""
        parent, corrected = map(self.numbers.get, (begun.parent_id or 0, begun.corrects_id or 0))
        sampling = {key: _finite(value) for key, value in begun.sampling.items()}
        seed = begun.seed if begun.state == "streaming" else None
        known: dict[str, Any] = {"parent_id": parent, "sampling": sampling, "seed": seed}
        yield self.event(events.QueryEvent, begun, **known)
        if corrected is not None:
            yield self.event(events.EditEvent, begun, corrects_id=corrected)

    def token(self, of: Round, piece: Piece) -> Event:
        """Return the event for a token."""
        at, number = self.time(of.started_at, piece.at_seconds), self.numbers[of.id]
        about = piece.text, piece.token_id, _finite(piece.logprob), piece.alternatives
        return events.TokenEvent(at, number, *about)

    def stop(self, ended: Round, token_text: str) -> Event:
        """Return the event that ends a reply; ``token_text`` is the text of all its tokens."""
        reply = None if ended.reply == token_text else ended.reply
        return self.event(events.StopEvent, ended, ended.seconds, reply=reply)

    def rate(self, of: Round, seconds: float, before: Round | None = None) -> Iterator[Event]:
        """Yield the events for a rating and a note that differ from those of ``before``."""
        if of.rating != (before.rating if before else 0):
            yield self.event(events.RatingEvent, of, seconds)
        if of.note != (before.note if before else ""):
            yield self.event(events.NoteEvent, of, seconds)


def _time(event: Any) -> float:
    return float(event["t"] if isinstance(event, dict) else event.t)


def _events(transcript: Transcript, maker: EventMaker) -> Iterator[Event]:
    ended = 0.0
    for each in transcript.rounds:
        yield from maker.query(each)
        mark = transcript.prompts.get(each.id)
        if each.prompt_tokens or each.reused_tokens or mark:
            yield maker.event(events.PromptEvent, each, **(asdict(mark) if mark else {}))
        pieces = transcript.pieces.get(each.id, ())
        for piece in pieces:
            yield maker.token(each, piece)
        if each.state != "streaming":
            yield maker.stop(each, "".join(piece.text for piece in pieces))
        yield from maker.rate(each, each.seconds)
        ended = maker.time(each.started_at, each.seconds)
    head = transcript.conversation.head_id
    if transcript.rounds and head is not None and head != transcript.rounds[-1].id:
        yield events.BranchEvent(ended, maker.numbers[head])


def _renumbered(other: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    round_id = other.get("round")
    number = numbers.get(round_id) if isinstance(round_id, int) else None
    return dict(other) if number is None else {**other, "round": number}


def _finite(value: Any) -> Any:
    """Replace infinity and NaN, which JSON cannot hold, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
