"""Reading the lines of a transcript: its events put together to a conversation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import msgspec

from chatui.conversation import transcript_events as events
from chatui.conversation.json_records import UnreadableRecord
from chatui.conversation.rounds import (
    Conversation,
    PackedPieces,
    Piece,
    Round,
    path_to,
    title_from_query,
)
from chatui.conversation.transcript_events import DIGITS, PromptMark
from chatui.locales import say
from chatui.validation_errors import describe_error

_TYPES: dict[str, type[events.Event]] = {
    str(kind.__struct_config__.tag): kind for kind in events.Event.__subclasses__()
}

Read: TypeAlias = tuple[
    Conversation,
    tuple[Round, ...],
    Mapping[int, tuple[Piece, ...]],
    dict[int, PromptMark],
    tuple[Mapping[str, Any], ...],
]


class TranscriptReader:
    """Puts the events of one file together, in their order."""

    def __init__(self, tell: Callable[[UnreadableRecord], None]) -> None:
        """
        Args:
            tell: is told what a round lacks that can only be seen at the end.
        """
        self._tell = tell
        self._header = events.Header("", 2, 0.0)
        self._rounds: dict[int, Round] = {}
        self._began: dict[int, float] = {}
        # Of rounds that are being written; those of the others are packed.
        self._pieces: dict[int, list[Piece]] = {}
        self._packed = PackedPieces()
        self._ended: set[int] = set()
        self._prompts: dict[int, PromptMark] = {}
        self._others: list[Mapping[str, Any]] = []
        self._left_out: set[int] = set()
        self._head: int | None = None
        self._last = 0.0

    def begin(self, header: dict[str, Any]) -> None:
        """Take the header; raises ValueError if it is none."""
        self._header = _converted(header, events.Header)

    def take(self, raw: Any) -> None:
        """Take the next event.

        Raises:
            ValueError: a value is missing, of a wrong type, or does not fit what came before.
        """
        if not isinstance(raw, dict):
            raise ValueError(say("conversation.no_event"))
        name, number = raw.get("type"), raw.get("round")
        kind = _TYPES.get(name, events.OtherEvent) if isinstance(name, str) else events.OtherEvent
        if isinstance(number, int) and number in self._left_out:
            return
        try:
            event = _converted(raw, kind)
            if not math.isfinite(event.t):
                raise ValueError(say("conversation.no_time"))
            if kind is events.OtherEvent:
                self._others.append(raw)
                return
            if kind is events.QueryEvent:
                self._take_query(event)
            elif number not in self._rounds:
                raise ValueError(say("conversation.unknown_round", id=number))
            elif kind is events.TokenEvent:
                self._take_token(event)
            else:
                self._take_more(event)
        except ValueError:
            # What belongs to a round that could not be read is no further fault.
            if kind is events.QueryEvent and isinstance(number, int) and number not in self._rounds:
                self._left_out.add(number)
            raise
        self._last = max(self._last, event.t)

    def _take_query(self, event: events.QueryEvent) -> None:
        if event.round in self._rounds:
            raise ValueError(say("conversation.round_twice", id=event.round))
        if event.parent is not None and event.parent not in self._rounds:
            raise ValueError(say("conversation.no_parent", id=event.round, parent=event.parent))
        started_at = event.started_at
        if started_at is None:
            started_at = self._header.start + event.t
        self._rounds[event.round] = Round(
            event.round,
            0,
            event.parent,
            event.text,
            model=event.model,
            format=event.format,
            sampling=event.sampling,
            seed=event.seed,
            started_at=started_at,
        )
        self._began[event.round] = event.t
        self._pieces[event.round] = []
        self._head = event.round

    def _take_token(self, event: events.TokenEvent) -> None:
        number = event.round
        at = max(0.0, round(event.t - self._began[number], DIGITS))
        pieces = self._pieces.get(number)
        if pieces is None:
            pieces = self._pieces[number] = list(self._packed[number])
        pieces.append(Piece(at, event.text, event.id, event.logprob, event.alternatives))

    def _take_more(self, event: events.Event) -> None:
        number = event.round
        if isinstance(event, events.BranchEvent):
            self._head = number
        elif isinstance(event, events.RatingEvent):
            self._rounds[number] = replace(self._rounds[number], rating=event.rating)
        elif isinstance(event, events.NoteEvent):
            self._rounds[number] = replace(self._rounds[number], note=event.text)
        elif isinstance(event, events.EditEvent):
            if event.of not in self._rounds:
                raise ValueError(say("conversation.unknown_round", id=event.of))
            self._rounds[number] = replace(self._rounds[number], corrects_id=event.of)
        elif isinstance(event, events.PromptEvent):
            self._rounds[number] = replace(
                self._rounds[number], prompt_tokens=event.tokens, reused_tokens=event.reused
            )
            if event.hash is not None:
                self._prompts[number] = PromptMark(event.hash, event.dropped_rounds)
        elif isinstance(event, events.StopEvent):
            self._take_stop(event)

    def _take_stop(self, event: events.StopEvent) -> None:
        begun = self._rounds[event.round]
        took = max(0.0, round(event.t - self._began[event.round], DIGITS))
        said = self._said(event.round)
        if event.round not in self._ended:
            self._packed[event.round] = self._pieces.pop(event.round)
        self._ended.add(event.round)
        self._rounds[event.round] = replace(
            begun,
            state=event.state,
            reply=said if event.reply is None else event.reply,
            finish_reason=event.reason,
            seed=begun.seed if event.seed is None else event.seed,
            output_tokens=event.output_tokens,
            seconds=took if event.seconds is None else event.seconds,
            error=event.error,
        )

    def _said(self, number: int) -> str:
        pieces = self._pieces.get(number)
        return "".join(piece.text for piece in (self._packed[number] if pieces is None else pieces))

    def end(self) -> Read:
        """The conversation, its rounds, their pieces and prompts, and the other events."""
        for number in self._rounds.keys() - self._ended:
            pieces = self._pieces[number]
            self._rounds[number] = replace(
                self._rounds[number],
                state="interrupted",
                reply=self._said(number),
                output_tokens=len(pieces),
                seconds=pieces[-1].at_seconds if pieces else 0.0,
            )
        for number, written in self._pieces.items():
            self._packed[number] = written
        about = self._header
        created_at = about.start if about.created_at is None else about.created_at
        updated_at = about.start + self._last if about.updated_at is None else about.updated_at
        first = next(iter(self._rounds.values()), None)
        title = about.title or (title_from_query(first.query) if first else "")
        depth = len(path_to(self._rounds, self._head))
        return (
            Conversation(
                *(0, title, created_at, updated_at, depth, self._head),
                pinned=about.pinned,
                archived=about.archived,
                tags=about.tags,
            ),
            tuple(self._rounds.values()),
            self._packed,
            self._prompts,
            tuple(self._others),
        )


def _converted(raw: Any, kind: Any) -> Any:
    """``raw`` as a value of a dataclass; raises ValueError that names what is wrong."""
    try:
        return msgspec.convert(raw, kind)
    except UnicodeError as error:
        # msgspec encodes keys as UTF-8, which has no lone surrogates.
        raise ValueError(say("dataset.no_utf8")) from error
    except msgspec.ValidationError as error:
        raise ValueError(describe_error(error)) from error
