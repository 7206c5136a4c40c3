"""Write transcripts during a conversation (``--record``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from chatui.conversation.database import ProgressHandler
from chatui.conversation.rounds import (
    Conversation,
    Piece,
    Rating,
    RenderedPrompt,
    Round,
    Transcript,
)
from chatui.conversation.store import Store
from chatui.conversation.transcript_events import DIGITS, BranchEvent, to_line
from chatui.conversation.transcript_writer import EventMaker, header, to_lines
from chatui.errors import ChatuiError
from chatui.locales import say

Description = Callable[[], Mapping[str, Any]]
"""Return the keys of a "model" event. Called in the thread that writes, as it may read weights."""


class TranscriptRecorder:
    """Appends the events of one conversation to a file.

    If the process dies, the last line may be incomplete.

    Attributes:
        file: the file that is written.
    """

    def __init__(self, file: Path) -> None:
        """Create ``file``, readable only by the user.

        Raises:
            ChatuiError: the file exists or cannot be created.
        """
        self.file = file
        self._maker = EventMaker((), 0.0)
        # Rounds that are streaming, the text of their tokens, and the prompt counts written.
        self._rounds: dict[int, Round] = {}
        self._token_text: dict[int, str] = {}
        self._counts: dict[int, tuple[int, int]] = {}
        self._is_empty = True
        self._model: Description | None = None
        with _plain_errors(file):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(file, flags, 0o600)

    def begin(self, before: Transcript, started_at: float) -> None:
        """Write the header and the rounds so far.

        Args:
            before: the conversation so far; may have no rounds.
            started_at: start of the next round, in seconds since the epoch.
        """
        self._maker = EventMaker(before.rounds, started_at)
        if before.rounds:
            self._write(to_lines(before))
        else:
            first = header(before.conversation, self._maker.start)
            self._append([msgspec.structs.replace(first, updated_at=None)])

    def query(self, begun: Round, model: Description | None = None) -> None:
        """Write the start of a round, and its model if that changed."""
        if model is not None and model is not self._model:
            self._model = model
            t = round(self._maker.began(begun), DIGITS)
            self._append([{"t": t, "type": "model", **model()}])
        self._maker.numbers[begun.id] = len(self._maker.numbers) + 1
        self._rounds[begun.id], self._token_text[begun.id] = begun, ""
        self._append(self._maker.query(begun))

    def prompt(self, round_id: int, tokens: int, reused: int, read: RenderedPrompt) -> None:
        """Write that the model has read the prompt of a round."""
        self._counts[round_id] = tokens, reused
        one = self._rounds[round_id]
        self._append([self._maker.prompt(one, 0.0, tokens, reused, read.mark())])

    def pieces(self, round_id: int, pieces: Iterable[Piece]) -> None:
        """Write tokens of a reply."""
        one, pieces = self._rounds[round_id], tuple(pieces)
        self._token_text[round_id] += "".join(piece.text for piece in pieces)
        self._append(self._maker.token(one, piece) for piece in pieces)

    def stop(self, ended: Round) -> None:
        """Write the end of a reply."""
        del self._rounds[ended.id]
        lines = [self._maker.stop(ended, self._token_text.pop(ended.id))]
        counts = ended.prompt_tokens, ended.reused_tokens
        if self._counts.pop(ended.id, (0, 0)) != counts:
            # The final counts are known only at the end of a reply.
            lines.insert(0, self._maker.prompt(ended, ended.seconds, *counts))
        self._append(lines)

    def rate(self, before: Round, now: Round, at: float) -> None:
        """Write a changed rating or note; ``at`` is in seconds since the epoch."""
        self._append(self._maker.rate(now, at - self._maker.start, before.rating, before.note))

    def branch(self, round_id: int, at: float) -> None:
        """Write a switch to another branch; ``at`` is in seconds since the epoch."""
        self._append([self._maker.event(BranchEvent, at - self._maker.start, round_id)])

    def knows(self, round_id: int) -> bool:
        """True if the round is in the file."""
        return round_id in self._maker.numbers

    def close(self) -> None:
        """Close the file, and delete it if nothing was written."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            os.close(self._descriptor)
            if self._is_empty:
                self.file.unlink()
        self._descriptor = -1

    def _append(self, lines: Iterable[object]) -> None:
        self._write(map(to_line, lines))

    def _write(self, lines: Iterable[str]) -> None:
        self._is_empty = False
        data = memoryview("".join(lines).encode())
        with _plain_errors(self.file):
            while data:
                data = data[os.write(self._descriptor, data) :]


class RecordingStore(Store):
    """A store that also records each conversation with new rounds in a transcript file.

    The store keeps working when a transcript cannot be written.

    Attributes:
        on_problem: called in the writing thread at the first failed write; recording then ends.
    """

    def __init__(
        self,
        file: Path | None,
        recorder: TranscriptRecorder,
        *,
        on_progress: ProgressHandler | None = None,
    ) -> None:
        """Open the store.

        Args:
            file: the store's file; None keeps the store in memory.
            on_progress: as for :class:`Store`.
            recorder: for the first conversation; files of later ones get a number in their name.

        Raises:
            ChatuiError: the store cannot be opened.
        """
        super().__init__(file, on_progress=on_progress)
        self.on_problem: Callable[[ChatuiError], None] = lambda problem: None
        self._first = recorder
        self._has_problem = False
        self._model: Description | None = None
        self._recorders: dict[int, TranscriptRecorder] = {}

    def set_model(self, model: Description) -> None:
        """Set the model of the next rounds."""
        self._model = model

    def add_round(self, *args: Any, **kwargs: Any) -> Round:
        begun = super().add_round(*args, **kwargs)
        self._try(lambda: self._recorder_for(begun).query(begun, self._model))
        return begun

    def save_prompt(self, round_id: int, prompt: RenderedPrompt) -> None:
        super().save_prompt(round_id, prompt)
        self._record(round_id, lambda one: one.prompt(round_id, len(prompt.input_ids), 0, prompt))

    def append_pieces(self, round_id: int, pieces: Iterable[Piece]) -> None:
        pieces = tuple(pieces)
        super().append_pieces(round_id, pieces)
        self._record(round_id, lambda one: one.pieces(round_id, pieces))

    def finish_round(self, ended: Round, pieces: Iterable[Piece] = ()) -> Round:
        pieces = tuple(pieces)
        saved = super().finish_round(ended, pieces)

        def write(recorder: TranscriptRecorder) -> None:
            recorder.pieces(ended.id, pieces)
            recorder.stop(ended)

        self._record(ended.id, write)
        return saved

    def rate(self, round_id: int, rating: Rating | None = None, note: str | None = None) -> Round:
        before = self.round(round_id)
        now = super().rate(round_id, rating, note)
        self._record(round_id, lambda one: one.rate(before, now, self._clock()))
        return now

    def set_head(self, conversation_id: int, round_id: int) -> Conversation:
        conversation = super().set_head(conversation_id, round_id)
        self._record(round_id, lambda one: one.branch(round_id, self._clock()))
        return conversation

    def close(self) -> None:
        super().close()
        for recorder in {self._first, *self._recorders.values()}:
            recorder.close()

    def _record(self, round_id: int, write: Callable[[TranscriptRecorder], None]) -> None:
        for recorder in self._recorders.values():
            if recorder.knows(round_id):
                self._try(lambda: write(recorder))  # noqa: B023  # it is called at once
                return

    def _recorder_for(self, begun: Round) -> TranscriptRecorder:
        known = self._recorders.get(begun.conversation_id)
        if known is not None:
            return known
        recorder = TranscriptRecorder(self._free_name()) if self._recorders else self._first
        self._recorders[begun.conversation_id] = recorder
        now = self.transcript(begun.conversation_id)
        before = replace(
            now,
            conversation=replace(now.conversation, head_id=begun.parent_id),
            rounds=tuple(each for each in now.rounds if each.id != begun.id),
        )
        recorder.begin(before, begun.started_at)
        return recorder

    def _free_name(self) -> Path:
        first = self._first.file
        number = 2
        while (name := first.with_stem(f"{first.stem}-{number}")).exists():
            number += 1
        return name

    def _try(self, write: Callable[[], None]) -> None:
        if self._has_problem:
            return
        try:
            write()
        except ChatuiError as problem:
            self._has_problem = True
            self.on_problem(problem)


@contextmanager
def _plain_errors(file: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise ChatuiError(say("conversation.record_exists", path=file)) from error
    except (OSError, ValueError) as error:
        raise ChatuiError(say("conversation.file_unwritable", path=file, reason=error)) from error
