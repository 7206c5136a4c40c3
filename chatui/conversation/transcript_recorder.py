"""Transcripts that are written while the conversation goes on (``--record``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from chatui.conversation import transcript_events as events
from chatui.conversation.database import ProgressHandler
from chatui.conversation.rounds import Conversation, Piece, Rating, RenderedPrompt, Round
from chatui.conversation.store import Store
from chatui.conversation.transcript import Transcript, lines_of
from chatui.errors import ChatuiError
from chatui.locales import say

Description = Callable[[], Mapping[str, Any]]
"""Gives the keys of a "model" event; called where the file is written: it may read weights."""


class TranscriptRecorder:
    """Appends what happens in one conversation to a file, whole lines at a time.

    A process that dies leaves all lines that were written, the last one perhaps torn.

    Attributes:
        file: where it writes.
    """

    def __init__(self, file: Path) -> None:
        """Create ``file``, readable by the user alone.

        Raises:
            ChatuiError: it exists, or cannot be created.
        """
        self.file = file
        self._start = 0.0
        self._numbers: dict[int, int] = {}
        self._began: dict[int, float] = {}
        self._said: dict[int, str] = {}
        self._counts: dict[int, tuple[int, int]] = {}
        self._is_empty = True
        self._model: Description | None = None
        with _plain_errors(file):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(file, flags, 0o600)

    def begin(self, before: Transcript, started_at: float) -> None:
        """Write the header and what was said before.

        Args:
            before: the conversation as it stood; perhaps without any round.
            started_at: of the first round that follows, in seconds since the epoch.
        """
        rounds = before.rounds
        self._start = min((each.started_at for each in rounds), default=started_at)
        self._numbers = {each.id: number for number, each in enumerate(rounds, 1)}
        if rounds:
            self._write(lines_of(before))
        else:
            header = events.header(before.conversation, self._start)
            self._append([msgspec.structs.replace(header, updated_at=None)])

    def query(self, begun: Round, model: Description | None = None) -> None:
        """A round begins, with this model."""
        began = begun.started_at - self._start
        if model is not None and model is not self._model:
            self._model = model
            self._append([{"t": round(began, events.DIGITS), "type": "model", **model()}])
        number = self._numbers[begun.id] = len(self._numbers) + 1
        self._began[begun.id], self._said[begun.id] = began, ""
        parent = self._numbers.get(begun.parent_id or 0)
        lines: list[events.Event] = [events.query(begun, number, parent, began)]
        if (corrected := self._numbers.get(begun.corrects_id or 0)) is not None:
            lines.append(events.event(events.EditEvent, began, number, corrected))
        self._append(lines)

    def prompt(self, round_id: int, tokens: int, reused: int, read: RenderedPrompt) -> None:
        """The model has read the prompt of a round."""
        mark = events.mark_of(read.text, read.dropped_rounds)
        self._counts[round_id] = tokens, reused
        number, began = self._numbers[round_id], self._began[round_id]
        self._append([events.prompt(number, began, tokens, reused, mark)])

    def pieces(self, round_id: int, pieces: Iterable[Piece]) -> None:
        """The reply of a round grows."""
        number, began = self._numbers[round_id], self._began[round_id]
        pieces = tuple(pieces)
        self._said[round_id] += "".join(piece.text for piece in pieces)
        self._append(events.token(piece, number, began) for piece in pieces)

    def stop(self, ended: Round) -> None:
        """The reply of a round is over."""
        began = self._began.pop(ended.id)
        said = self._said.pop(ended.id)
        number = self._numbers[ended.id]
        lines: list[events.Event] = []
        counts = ended.prompt_tokens, ended.reused_tokens
        if self._counts.pop(ended.id, (0, 0)) != counts:
            # They are known for certain now.
            lines.append(events.prompt(number, began + ended.seconds, *counts, None))
        lines.append(events.stop(ended, number, began + ended.seconds, said))
        self._append(lines)

    def rate(self, before: Round, now: Round, at: float) -> None:
        """The user has rated a round or noted something; ``at`` in seconds since the epoch."""
        number, t = self._numbers[now.id], at - self._start
        lines: list[events.Event] = []
        if now.rating != before.rating:
            lines.append(events.event(events.RatingEvent, t, number, now.rating))
        if now.note != before.note:
            lines.append(events.event(events.NoteEvent, t, number, now.note))
        self._append(lines)

    def branch(self, round_id: int, at: float) -> None:
        """Another path is looked at; ``at`` in seconds since the epoch."""
        self._append([events.event(events.BranchEvent, at - self._start, self._numbers[round_id])])

    def knows(self, round_id: int) -> bool:
        """Whether a round is in the file."""
        return round_id in self._numbers

    def close(self) -> None:
        """Write no more; a file in which nothing stands goes."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            os.close(self._descriptor)
            if self._is_empty:
                self.file.unlink()
        self._descriptor = -1

    def _append(self, lines: Iterable[object]) -> None:
        self._write(map(events.to_line, lines))

    def _write(self, lines: Iterable[str]) -> None:
        self._is_empty = False
        data = memoryview("".join(lines).encode())
        with _plain_errors(self.file):
            while data:
                data = data[os.write(self._descriptor, data) :]


class RecordingStore(Store):
    """A store that also records the conversations that go on in it, each into a file of its own.

    What cannot be recorded is told once and does not stop the store.

    Attributes:
        on_problem: called once, in the thread that writes, when a transcript cannot be written.
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
            file: of the store; None keeps it in memory.
            on_progress: as for :class:`Store`.
            recorder: for the first conversation; the files of others get a number in their name.

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
        """The next rounds are this model's."""
        self._model = model

    def add_round(self, *args: Any, **kwargs: Any) -> Round:
        begun = super().add_round(*args, **kwargs)
        self._try(lambda: self._recorder_for(begun).query(begun, self._model))
        return begun

    def save_prompt(self, round_id: int, prompt: RenderedPrompt) -> None:
        super().save_prompt(round_id, prompt)
        self._note(round_id, lambda one: one.prompt(round_id, len(prompt.input_ids), 0, prompt))

    def append_pieces(self, round_id: int, pieces: Iterable[Piece]) -> None:
        pieces = tuple(pieces)
        super().append_pieces(round_id, pieces)
        self._note(round_id, lambda one: one.pieces(round_id, pieces))

    def finish_round(self, ended: Round, pieces: Iterable[Piece] = ()) -> Round:
        pieces = tuple(pieces)
        saved = super().finish_round(ended, pieces)

        def write(one: TranscriptRecorder) -> None:
            one.pieces(ended.id, pieces)
            one.stop(ended)

        self._note(ended.id, write)
        return saved

    def rate(self, round_id: int, rating: Rating | None = None, note: str | None = None) -> Round:
        before = self.round(round_id)
        now = super().rate(round_id, rating, note)
        self._note(round_id, lambda one: one.rate(before, now, self._clock()))
        return now

    def set_head(self, conversation_id: int, round_id: int) -> Conversation:
        looked_at = super().set_head(conversation_id, round_id)
        self._note(round_id, lambda one: one.branch(round_id, self._clock()))
        return looked_at

    def close(self) -> None:
        super().close()
        for recorder in {self._first, *self._recorders.values()}:
            recorder.close()

    def _note(self, round_id: int, write: Callable[[TranscriptRecorder], None]) -> None:
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
        conversation, rounds, pieces = self.full_conversation(begun.conversation_id)
        before = tuple(each for each in rounds if each.id != begun.id)
        as_it_was = replace(conversation, head_id=begun.parent_id)
        recorder.begin(Transcript(as_it_was, before, pieces), begun.started_at)
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
