"""Read transcript files of all versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from chatui.conversation import transcript_events as events
from chatui.conversation.json_records import JsonRecords, Record, UnreadableRecord, opened
from chatui.conversation.rounds import (
    MAX_EPOCH,
    MAX_SECONDS,
    Conversation,
    PackedPieces,
    Piece,
    PromptMark,
    Round,
    Transcript,
    interrupted,
    title_from_query,
)
from chatui.conversation.transcript_events import (
    DIGITS,
    FORMAT,
    VERSION,
    lines_from_version_1,
)
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.validation_errors import describe_error

OnFault = Callable[[UnreadableRecord], None]

_EVENT_TYPES: dict[str, type[events.Event]] = {
    str(kind.__struct_config__.tag): kind for kind in events.Event.__subclasses__()
}


def read_transcript(
    file: Path | bytes,
    on_fault: OnFault | None = None,
    *,
    name: str = "",
    encoding: str | None = None,
) -> Transcript:
    """Read a transcript from a file or from the bytes of one; its conversation's id is 0.

    A round without a stop event becomes "interrupted", and an incomplete last line is skipped.
    Events of unknown types are kept.

    Args:
        on_fault: called for each line that cannot be read; the other lines are kept. If None, such
            a line raises ChatuiError. Version 1 is a single object and always raises.
        name: the name of bytes, for error messages.
        encoding: None for UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ChatuiError: the file cannot be read, or is not a transcript of a known version.
    """
    with opened(file, name) as stream:
        records = JsonRecords(stream, encoding, _refuse_constant)
        return _read(records, name or str(file), on_fault)


def _read(found: Iterable[Record], name: str, on_fault: OnFault | None) -> Transcript:
    """Build the transcript from the records of a file; see :func:`read_transcript`."""

    def damaged(line: int, reason: object) -> ChatuiError:
        where = say("conversation.in_line", line=line, reason=reason)
        return ChatuiError(say("conversation.damaged_transcript", path=name, reason=where))

    records = iter(found)
    first = next(records, (1, None))
    if isinstance(first, UnreadableRecord):
        raise ChatuiError(say("conversation.no_whole_transcript", path=name, reason=first.reason))
    header = first[1]
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ChatuiError(say("conversation.no_transcript", path=name))
    version = header.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ChatuiError(
            say("conversation.newer_transcript", path=name, found=version, known=VERSION)
        )
    try:
        if version == 1:
            on_fault = None
            header, *later = lines_from_version_1(header)
            records = ((1, event) for event in later)
        builder = _TranscriptBuilder(header)
    except (ValueError, msgspec.ValidationError) as error:
        raise damaged(1, describe_error(error)) from error
    for record in records:
        if not isinstance(record, UnreadableRecord):
            try:
                builder.add(record[1])
                continue
            except ValueError as error:
                record = UnreadableRecord(record[0], str(error))
        # The last line may be incomplete.
        if record.is_torn:
            continue
        if on_fault is None:
            raise damaged(record.line, record.reason)
        on_fault(record)
    return builder.build()


class _TranscriptBuilder:
    """Collects the events of one file."""

    def __init__(self, header: dict[str, Any]) -> None:
        """Begin with the header; raises ValueError if it is invalid."""
        self._header: events.Header = _converted(header, events.Header)
        self._rounds: dict[int, Round] = {}
        self._began: dict[int, float] = {}
        # Of rounds without a stop event yet; those of the others are packed.
        self._pieces: dict[int, list[Piece]] = {}
        self._packed = PackedPieces()
        self._prompts: dict[int, PromptMark] = {}
        self._others: list[Mapping[str, Any]] = []
        self._unreadable_rounds: set[int] = set()
        self._head: int | None = None
        self._last_time = 0.0

    def add(self, raw: Any) -> None:
        """Add the next event.

        Raises:
            ValueError: a value is missing, has a wrong type or contradicts earlier events.
        """
        if not isinstance(raw, dict):
            raise ValueError(say("conversation.no_event"))
        name, number = raw.get("type"), raw.get("round")
        kind = _EVENT_TYPES.get(name) if isinstance(name, str) else None
        if isinstance(number, int) and number in self._unreadable_rounds:
            return
        try:
            event = _converted(raw, kind or events.OtherEvent)
            # False for NaN too.
            if not abs(self._header.start + event.t) <= MAX_EPOCH:
                raise ValueError(say("conversation.no_time"))
            if kind is None:
                self._others.append(raw)
                return
            if kind is events.QueryEvent:
                self._add_query(event)
            elif number not in self._rounds:
                raise ValueError(say("conversation.unknown_round", id=number))
            else:
                self._add_to_round(event)
        except ValueError:
            # Later events of an unreadable round are skipped without another report.
            if kind is events.QueryEvent and isinstance(number, int) and number not in self._rounds:
                self._unreadable_rounds.add(number)
            raise
        self._last_time = max(self._last_time, event.t)

    def _add_query(self, event: events.QueryEvent) -> None:
        number = event.round
        if number in self._rounds:
            raise ValueError(say("conversation.round_twice", id=number))
        if event.parent_id is not None and event.parent_id not in self._rounds:
            raise ValueError(say("conversation.no_parent", id=number, parent=event.parent_id))
        values = _own_values(event)
        if event.started_at is None:
            values["started_at"] = self._header.start + event.t
        self._rounds[number] = Round(number, 0, **values)
        self._began[number] = event.t
        self._pieces[number] = []
        self._head = number

    def _add_to_round(self, event: events.Event) -> None:
        number = event.round
        match event:
            case events.TokenEvent():
                if number not in self._pieces:
                    self._pieces[number] = list(self._packed[number])
                about = event.text, event.token_id, event.logprob, event.alternatives
                self._pieces[number].append(Piece(self._seconds(event), *about))
            case events.BranchEvent():
                self._head = number
            case events.PromptEvent():
                tokens, reused = event.prompt_tokens, event.reused_tokens
                self._update(number, prompt_tokens=tokens, reused_tokens=reused)
                if event.hash is not None:
                    self._prompts[number] = PromptMark(event.hash, event.dropped_rounds)
            case events.StopEvent():
                self._add_stop(event)
            case events.EditEvent() if event.corrects_id not in self._rounds:
                raise ValueError(say("conversation.unknown_round", id=event.corrects_id))
            case _:
                self._update(number, **_own_values(event))

    def _add_stop(self, event: events.StopEvent) -> None:
        number = event.round
        before = self._rounds[number]
        values = _own_values(event)
        if event.seed is None:
            values["seed"] = before.seed
        if event.seconds is None:
            values["seconds"] = self._seconds(event)
        if event.reply is None:
            values["reply"] = self._text(number)
        self._update(number, **values)
        if before.state == "streaming":
            self._packed[number] = self._pieces.pop(number)

    def _update(self, number: int, **values: Any) -> None:
        self._rounds[number] = replace(self._rounds[number], **values)

    def _seconds(self, event: events.Event) -> float:
        """Return the time of an event since its round began; raises ValueError if too long."""
        seconds = round(event.t - self._began[event.round], DIGITS)
        if seconds > MAX_SECONDS:
            raise ValueError(say("conversation.no_time"))
        return max(0.0, seconds)

    def _text(self, number: int) -> str:
        pieces = self._pieces.get(number)
        return "".join(piece.text for piece in (self._packed[number] if pieces is None else pieces))

    def build(self) -> Transcript:
        """Return the transcript."""
        for number, pieces in self._pieces.items():
            self._packed[number] = pieces
            if self._rounds[number].state == "streaming":
                self._rounds[number] = interrupted(self._rounds[number], pieces)
        header = self._header
        start, updated_at = header.start, header.updated_at
        rounds, others = tuple(self._rounds.values()), tuple(self._others)
        conversation = Conversation(
            0,
            header.title or (title_from_query(rounds[0].query) if rounds else ""),
            start if header.created_at is None else header.created_at,
            start + self._last_time if updated_at is None else updated_at,
            head_id=self._head,
            pinned=header.pinned,
            archived=header.archived,
            tags=header.tags,
        )
        return Transcript(conversation, rounds, self._packed, self._prompts, others)


def _own_values(event: events.Event) -> dict[str, Any]:
    """Return the values of an event besides its time and round."""
    return {name: getattr(event, name) for name in event.__struct_fields__[2:]}


def _converted(raw: Any, kind: Any) -> Any:
    """Return ``raw`` as a ``kind``; raises ValueError with the wrong key and the reason."""
    try:
        return msgspec.convert(raw, kind)
    except UnicodeError as error:
        # msgspec encodes keys as UTF-8, which cannot hold lone surrogates.
        raise ValueError(say("dataset.no_utf8")) from error
    except msgspec.ValidationError as error:
        raise ValueError(describe_error(error, kind)) from error


def _refuse_constant(constant: str) -> NoReturn:
    """Refuse NaN and infinities, which Python's JSON reader accepts."""
    raise ValueError(say("conversation.no_constant", name=constant))
