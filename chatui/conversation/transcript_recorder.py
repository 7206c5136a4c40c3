"""Write transcripts during a conversation (``--record``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

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
from chatui.conversation.transcript_events import BranchEvent, Event, PromptEvent, to_line
from chatui.conversation.transcript_writer import EventMaker, to_lines
from chatui.errors import ChatuiError
from chatui.locales import say

Description = Callable[[], Mapping[str, Any]]
"""Return the keys of a "model" event. Called in the thread that writes, as it may read weights."""


class TranscriptRecorder:
    """Appends the events of one conversation to a file.

    If the process dies, the last line may be incomplete.

    Attributes:
        file: the file that is written.
        maker: makes the events, and knows the rounds in the file.
    """

    maker: EventMaker

    def __init__(self, file: Path) -> None:
        """Create ``file``, readable only by the user.

        Raises:
            ChatuiError: the file exists or cannot be created.
        """
        self.file = file
        self._model: Description | None = None
        self._is_empty = True
        with _plain_errors(file):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
            self._descriptor = os.open(file, flags, 0o600)

    def begin(self, before: Transcript) -> None:
        """Write the header and the rounds so far, if any."""
        self.maker = EventMaker(before)
        self._write(to_lines(before, is_open=True))

    def query(self, begun: Round, model: Description | None) -> None:
        """Write the start of a round, and its model if that changed."""
        if model is not None and model is not self._model:
            self._model = model
            self.append([{"t": self.maker.time(begun.started_at), "type": "model", **model()}])
        self.maker.numbers[begun.id] = len(self.maker.numbers) + 1
        self.append(self.maker.query(begun))

    def append(self, events: Iterable[object]) -> None:
        """Write events."""
        self._write(map(to_line, events))

    def close(self) -> None:
        """Close the file, and delete it if nothing was written."""
        if self._descriptor < 0:
            return
        with suppress(OSError):
            os.close(self._descriptor)
            if self._is_empty:
                self.file.unlink()
        self._descriptor = -1

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
        self._streaming: dict[int, tuple[Round, list[str]]] = {}

    def set_model(self, model: Description) -> None:
        """Set the model of the next rounds."""
        self._model = model

    def add_round(self, *args: Any, **kwargs: Any) -> Round:
        begun = super().add_round(*args, **kwargs)
        self._streaming[begun.id] = begun, []
        self._try(lambda: self._recorder_for(begun).query(begun, self._model))
        return begun

    def save_prompt(self, round_id: int, prompt: RenderedPrompt) -> None:
        super().save_prompt(round_id, prompt)
        begun, known = self._streaming[round_id][0], asdict(prompt.mark())
        known["prompt_tokens"] = len(prompt.input_ids)
        self._record(round_id, lambda make: [make.event(PromptEvent, begun, **known)])

    def append_pieces(self, round_id: int, pieces: Iterable[Piece]) -> None:
        pieces = tuple(pieces)
        super().append_pieces(round_id, pieces)
        begun, texts = self._streaming[round_id]
        texts += (piece.text for piece in pieces)
        self._record(round_id, lambda make: (make.token(begun, piece) for piece in pieces))

    def finish_round(self, ended: Round, pieces: Iterable[Piece] = ()) -> Round:
        pieces = tuple(pieces)
        saved = super().finish_round(ended, pieces)
        _, texts = self._streaming.pop(ended.id, (ended, []))
        texts += (piece.text for piece in pieces)

        def events(make: EventMaker) -> Iterator[Event]:
            yield from (make.token(ended, piece) for piece in pieces)
            prompt = self.prompt(ended.id)
            counts = (len(prompt.input_ids) if prompt else 0, 0)
            if counts != (ended.prompt_tokens, ended.reused_tokens):
                # The final counts are known only at the end of a reply.
                yield make.event(PromptEvent, ended, ended.seconds)
            yield make.stop(ended, "".join(texts))

        self._record(ended.id, events)
        return saved

    def rate(self, round_id: int, rating: Rating | None = None, note: str | None = None) -> Round:
        before = self.round(round_id)
        now = super().rate(round_id, rating, note)
        seconds = self._clock() - now.started_at
        self._record(round_id, lambda make: make.rate(now, seconds, before))
        return now

    def set_head(self, conversation_id: int, round_id: int) -> Conversation:
        conversation = super().set_head(conversation_id, round_id)
        now = self._clock()
        self._record(round_id, lambda make: [BranchEvent(make.time(now), make.numbers[round_id])])
        return conversation

    def close(self) -> None:
        super().close()
        for recorder in {self._first, *self._recorders.values()}:
            recorder.close()

    def _record(self, round_id: int, events: Callable[[EventMaker], Iterable[object]]) -> None:
        """Write events to the transcript that has this round, if any."""
        has_it = (one for one in self._recorders.values() if round_id in one.maker.numbers)
        if (recorder := next(has_it, None)) is not None:
            self._try(lambda: recorder.append(events(recorder.maker)))

    def _recorder_for(self, begun: Round) -> TranscriptRecorder:
        known = self._recorders.get(begun.conversation_id)
        if known is not None:
            return known
        recorder = TranscriptRecorder(self._free_name()) if self._recorders else self._first
        now = self.transcript(begun.conversation_id)
        conversation = replace(now.conversation, head_id=begun.parent_id)
        recorder.begin(replace(now, conversation=conversation, rounds=now.rounds[:-1]))
        self._recorders[begun.conversation_id] = recorder
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
