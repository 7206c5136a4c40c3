"""A conversation as a file: JSON Lines, a header and then what happened, in order.

``docs/transcript.md`` describes the format and ``docs/transcript.schema.json`` fixes it; this
module is the whole of a file, :mod:`.transcript_events` writes its lines and
:mod:`.transcript_reader` puts them together again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chatui.conversation import transcript_events as events
from chatui.conversation.json_records import JsonRecords, Record, UnreadableRecord
from chatui.conversation.rounds import Conversation, Piece, Round, path_to
from chatui.conversation.store import Store
from chatui.conversation.transcript_events import VERSION, PromptMark, to_line
from chatui.conversation.transcript_reader import TranscriptReader
from chatui.conversation.transcript_version_1 import FORMAT, no_constant, of_version_1
from chatui.errors import ChatuiError
from chatui.locales import say

OnFault = Callable[[UnreadableRecord], None]


@dataclass(frozen=True)
class Transcript:
    """A whole conversation.

    Attributes:
        conversation: its ``head_id`` is one of the rounds'.
        rounds: all versions, a parent before its children.
        pieces: by round id; a round may have none.
        prompts: what is kept of the prompts, by round id.
        others: events that are no part of the rounds, as they were read: models, unknown ones.
    """

    conversation: Conversation
    rounds: tuple[Round, ...]
    pieces: Mapping[int, tuple[Piece, ...]] = field(default_factory=dict)
    prompts: Mapping[int, PromptMark] = field(default_factory=dict)
    others: tuple[Mapping[str, Any], ...] = ()

    def path(self) -> tuple[Round, ...]:
        """The rounds from the first to the head."""
        return path_to({each.id: each for each in self.rounds}, self.conversation.head_id)


def of_store(store: Store, conversation_id: int) -> Transcript:
    """The transcript of a saved conversation."""
    conversation, rounds, pieces = store.full_conversation(conversation_id)
    prompts = {each.id: prompt for each in rounds if (prompt := store.prompt(each.id))}
    marks = {id: events.mark_of(each.text, each.dropped_rounds) for id, each in prompts.items()}
    return Transcript(conversation, rounds, pieces, marks)


# Writing


def dumps(transcript: Transcript) -> str:
    """A transcript as text. Round ids count from 1, in the order of the rounds."""
    return "".join(lines_of(transcript))


def lines_of(transcript: Transcript) -> Iterator[str]:
    """The lines of a transcript."""
    conversation = transcript.conversation
    start = min((each.started_at for each in transcript.rounds), default=conversation.created_at)
    numbers = {each.id: number for number, each in enumerate(transcript.rounds, 1)}
    yield to_line(events.header(conversation, start))
    others = sorted(transcript.others, key=lambda other: float(other["t"]))
    place = 0
    for each in _events(transcript, numbers, start):
        while place < len(others) and others[place]["t"] <= each.t:
            yield to_line(_renumbered(others[place], numbers))
            place += 1
        yield to_line(each)
    for other in others[place:]:
        yield to_line(_renumbered(other, numbers))


def _events(
    transcript: Transcript, numbers: Mapping[int, int], start: float
) -> Iterator[events.Event]:
    at = 0.0
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
        at = began + each.seconds
        if each.state != "streaming":
            yield events.stop(each, number, at, "".join(piece.text for piece in pieces))
        if each.rating:
            yield events.event(events.RatingEvent, at, number, each.rating)
        if each.note:
            yield events.event(events.NoteEvent, at, number, each.note)
    head = transcript.conversation.head_id
    if transcript.rounds and head is not None and head != transcript.rounds[-1].id:
        yield events.event(events.BranchEvent, at, numbers[head])


def _renumbered(other: Mapping[str, Any], numbers: Mapping[int, int]) -> dict[str, Any]:
    round_id = other.get("round")
    is_known = isinstance(round_id, int) and round_id in numbers
    return {**other, "round": numbers[round_id]} if is_known else dict(other)  # type: ignore[index]


# Reading


def read(file: Path, on_fault: OnFault | None = None, *, encoding: str | None = None) -> Transcript:
    """Read a transcript of any version; see :func:`loads`.

    Args:
        encoding: None for UTF-8, or UTF-16 with a byte order mark.

    Raises:
        ChatuiError: the file cannot be read, or is no transcript of a version known here.
    """
    return _read(JsonRecords(file, encoding, no_constant), str(file), on_fault)


def loads(data: bytes, name: str, on_fault: OnFault | None = None) -> Transcript:
    """A transcript from the bytes of a file; conversation ids are 0.

    A round without an end comes back as "interrupted", and a last line that was not written to its
    end is left out. Events of unknown types are kept.

    Args:
        name: the file's, for the sentence of an error.
        on_fault: is told each line that cannot be read, and the rest is kept; None refuses the
            file. (Version 1 has no lines to keep.)

    Raises:
        ChatuiError: it is no transcript of a version known here.
    """
    return _read(JsonRecords(data, None, no_constant), name, on_fault)


def _read(found: Iterable[Record], name: str, on_fault: OnFault | None) -> Transcript:
    records = iter(found)
    first = next(records, (1, None))
    if isinstance(first, UnreadableRecord):
        raise ChatuiError(say("conversation.no_whole_transcript", path=name, reason=first.reason))
    header = first[1]
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ChatuiError(say("conversation.no_transcript", path=name))
    version = header.get("version")
    if version == 1:
        return Transcript(*of_version_1(header, name))
    if isinstance(version, int) and version > VERSION:
        raise ChatuiError(
            say("conversation.newer_transcript", path=name, found=version, known=VERSION)
        )

    def tell(fault: UnreadableRecord) -> None:
        if on_fault is None:
            reason = say("conversation.in_line", line=fault.line, reason=fault.reason)
            raise ChatuiError(say("conversation.damaged_transcript", path=name, reason=reason))
        on_fault(fault)

    reader = TranscriptReader(tell)
    try:
        reader.begin(header)
    except ValueError as error:
        reason = say("conversation.in_line", line=1, reason=error)
        sentence = say("conversation.damaged_transcript", path=name, reason=reason)
        raise ChatuiError(sentence) from error
    for record in records:
        if isinstance(record, UnreadableRecord):
            # The last line may not have been written to its end.
            if not record.is_torn:
                tell(record)
            continue
        number, event = record
        try:
            reader.take(event)
        except ValueError as error:
            tell(UnreadableRecord(number, str(error)))
    return Transcript(*reader.end())
