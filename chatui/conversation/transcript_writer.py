"""Write transcripts as JSON Lines.

``docs/transcript.md`` describes the format and ``docs/transcript.schema.json`` defines it.
:mod:`.transcript_events` defines the lines, :mod:`.transcript_reader` reads them.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chatui import __version__
from chatui.conversation import transcript_events as events
from chatui.conversation.rounds import Conversation, Piece, PromptMark, Round, Transcript
from chatui.conversation.transcript_events import DIGITS, FORMAT, VERSION, Event, Header, to_line


def dumps(transcript: Transcript) -> str:
    """Return the transcript as text. Round ids count from 1, in the order of the rounds."""
    return "".join(to_lines(transcript))


def to_lines(transcript: Transcript) -> Iterator[str]:
    """Yield the lines of a transcript."""
    maker = EventMaker(transcript.rounds, transcript.conversation.created_at)
    yield to_line(header(transcript.conversation, maker.start))
    others = sorted((_renumbered(each, maker.numbers) for each in transcript.others), key=_time)
    for each in heapq.merge(others, _events(transcript, maker), key=_time):
        yield to_line(each)


def header(conversation: Conversation, start: float) -> Header:
    """Return the first line; ``start`` is in seconds since the epoch."""
    times = conversation.created_at, conversation.updated_at
    return Header(
        *(FORMAT, VERSION, start, __version__, conversation.title, *times),
        pinned=conversation.pinned,
        archived=conversation.archived,
        tags=conversation.tags,
    )


class EventMaker:
    """Makes the events of the rounds of a conversation.

    Attributes:
        start: start of the transcript, in seconds since the epoch.
        numbers: the numbers of the rounds in the file, by id.
    """

    def __init__(self, rounds: Sequence[Round], start: float) -> None:
        """Number ``rounds`` from 1; without rounds the transcript starts at ``start``."""
        self.start = min((each.started_at for each in rounds), default=start)
        self.numbers = {each.id: number for number, each in enumerate(rounds, 1)}

    def event(self, kind: type[Event], t: float, round_id: int, *values: Any) -> Event:
        """Return an event; ``t`` is in seconds after the start, and is rounded to microseconds."""
        return kind(round(t, DIGITS), self.numbers[round_id], *values)

    def began(self, of: Round) -> float:
        """Return the time of a round's query event."""
        return of.started_at - self.start

    def query(self, begun: Round) -> Iterator[Event]:
        """Yield the events that begin a round."""
        sampling = {key: _finite(value) for key, value in begun.sampling.items()}
        seed = begun.seed if begun.state == "streaming" else None
        about = begun.started_at, begun.model, begun.format, sampling, seed
        parent, began = self.numbers.get(begun.parent_id or 0), self.began(begun)
        yield self.event(events.QueryEvent, began, begun.id, parent, begun.query, *about)
        if (corrected := self.numbers.get(begun.corrects_id or 0)) is not None:
            yield self.event(events.EditEvent, began, begun.id, corrected)

    def prompt(
        self, of: Round, seconds: float, tokens: int, reused: int, mark: PromptMark | None = None
    ) -> Event:
        """Return the event for a prompt, read ``seconds`` after the round began."""
        known = () if mark is None else (mark.dropped_rounds, mark.hash)
        t = self.began(of) + seconds
        return self.event(events.PromptEvent, t, of.id, tokens, reused, *known)

    def token(self, of: Round, piece: Piece) -> Event:
        """Return the event for a token."""
        about = piece.text, piece.token_id, _finite(piece.logprob), piece.alternatives
        return self.event(events.TokenEvent, self.began(of) + piece.at_seconds, of.id, *about)

    def stop(self, ended: Round, token_text: str) -> Event:
        """Return the event that ends a reply; ``token_text`` is the text of all its tokens."""
        about = ended.state, ended.seconds, ended.output_tokens
        end = ended.finish_reason, ended.seed, ended.error
        reply = None if ended.reply == token_text else ended.reply
        t = self.began(ended) + ended.seconds
        return self.event(events.StopEvent, t, ended.id, *about, *end, reply)

    def rate(self, of: Round, t: float, rating: int = 0, note: str = "") -> Iterator[Event]:
        """Yield the events for a rating and a note that differ from the earlier ones."""
        if of.rating != rating:
            yield self.event(events.RatingEvent, t, of.id, of.rating)
        if of.note != note:
            yield self.event(events.NoteEvent, t, of.id, of.note)


def _time(event: Any) -> float:
    return float(event["t"] if isinstance(event, dict) else event.t)


def _events(transcript: Transcript, maker: EventMaker) -> Iterator[Event]:
    ended = 0.0
    for each in transcript.rounds:
        yield from maker.query(each)
        mark = transcript.prompts.get(each.id)
        if each.prompt_tokens or each.reused_tokens or mark:
            yield maker.prompt(each, 0.0, each.prompt_tokens, each.reused_tokens, mark)
        pieces = transcript.pieces.get(each.id, ())
        for piece in pieces:
            yield maker.token(each, piece)
        if each.state != "streaming":
            yield maker.stop(each, "".join(piece.text for piece in pieces))
        ended = maker.began(each) + each.seconds
        yield from maker.rate(each, ended)
    head = transcript.conversation.head_id
    if transcript.rounds and head is not None and head != transcript.rounds[-1].id:
        yield maker.event(events.BranchEvent, ended, head)


def _renumbered(other: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    round_id = other.get("round")
    number = numbers.get(round_id) if isinstance(round_id, int) else None
    return dict(other) if number is None else {**other, "round": number}


def _finite(value: Any) -> Any:
    """Replace infinity and NaN, which JSON cannot hold, by None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
