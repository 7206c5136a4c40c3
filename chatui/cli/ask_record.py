"""The transcript of one ``chatui ask`` (``--record``), written as the reply comes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from chatui.catalog.model_description import model_description
from chatui.cli.output import write_stderr
from chatui.conversation.rounds import Conversation, Piece, RenderedPrompt, Round, title_from_query
from chatui.conversation.transcript import Transcript
from chatui.conversation.transcript_recorder import TranscriptRecorder
from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, Token
from chatui.prompting.parts import thought_opening


class AskRecord:
    """Records the history, the query and the reply of a request.

    What cannot be written is told once, and the reply goes on.
    """

    def __init__(self, file: Path, request: GenerateRequest) -> None:
        """Create the file.

        Raises:
            ChatuiError: it exists, or cannot be created.
        """
        self._request = request
        self._recorder = TranscriptRecorder(file)
        self._round = Round(len(request.history) + 1, 0, len(request.history) or None, "")
        self._began = 0.0
        self._done: Done | None = None
        self._texts: list[str] = []
        self._opening = ""
        self._failed = False

    def begin(self, spec: ModelSpec, model: Loaded) -> None:
        """The model is loaded and is now asked."""
        request, now = self._request, time.time()
        self._began = time.monotonic()
        earlier = tuple(
            Round(number, 0, number - 1 or None, query, reply, "done", started_at=now)
            for number, (query, reply) in enumerate(request.history, 1)
        )
        first = request.history[0][0] if request.history else request.query
        about = Conversation(
            0, title_from_query(first), now, now, len(earlier), len(earlier) or None
        )
        think = {} if request.think is None else {"think": request.think}
        self._round = replace(
            self._round,
            query=request.query,
            model=model.name,
            format=model.format,
            sampling=asdict(request.sampling) | think,
            started_at=now,
        )
        self._try(partial(self._recorder.begin, Transcript(about, earlier), now))
        described = partial(model_description, spec, model)
        self._try(partial(self._recorder.query, self._round, described))

    def take(self, event: Prefill | Token | Done) -> None:
        """Take the next event of the reply."""
        if isinstance(event, Done):
            self._done = event
        elif isinstance(event, Token):
            if self._opening and not self._texts:
                self._piece(Piece(self._seconds, self._opening))
            best = tuple((each.id, each.token, each.probability) for each in event.alternatives)
            self._piece(Piece(self._seconds, event.text, event.id, event.logprob, best))
        else:
            self._opening = thought_opening(event.prompt)
            self._round = replace(
                self._round,
                seed=event.seed,
                prompt_tokens=event.prompt_tokens,
                reused_tokens=event.reused_tokens,
            )
            read = RenderedPrompt(event.prompt, dropped_rounds=event.dropped_rounds)
            counts = (event.prompt_tokens, event.reused_tokens)
            self._try(partial(self._recorder.prompt, self._round.id, *counts, read))

    def finish(self, error: str) -> None:
        """The reply is over, by an error if there is a sentence."""
        done = self._done
        said = "".join(self._texts)
        reason = "cancelled" if done is None else done.finish_reason
        ended = replace(
            self._round,
            state="failed" if error else "stopped" if reason == "cancelled" else "done",
            reply=said if done is None else done.text and self._opening + done.text,
            finish_reason=None if error else reason,
            output_tokens=len(self._texts) if done is None else done.output_tokens,
            seconds=self._seconds,
            error=error or None,
        )
        self._try(partial(self._recorder.stop, ended))

    def close(self) -> None:
        """Write no more."""
        self._recorder.close()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _piece(self, piece: Piece) -> None:
        self._texts.append(piece.text)
        self._try(partial(self._recorder.pieces, self._round.id, [piece]))

    def _try(self, write: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            write()
        except ChatuiError as problem:
            self._failed = True
            write_stderr(str(problem))
