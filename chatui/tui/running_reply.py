"""One reply while it is written: the backend's events in, saved pieces and messages out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from chatui.backends.protocol import Backend
from chatui.conversation.round_writer import RoundWriter
from chatui.conversation.rounds import Piece, RenderedPrompt, Round, RoundState
from chatui.conversation.store import Store
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import Done, GenerateRequest, Prefill, Token
from chatui.prompting.parts import thought_opening
from chatui.tui.turn_messages import ErrorOccurred, PromptRead, RoundEnded, TurnMessage

MEASURABLE_SECONDS = 0.02
HIGHEST_SPEED = 10_000
"""Limits of a measurable speed: tokens that arrive faster were sent in one batch."""

STOP_SECONDS = 0.3
"""Seconds that a stopped backend has to end the reply, before the reply is ended without it."""

logger = logging.getLogger(__name__)


class RunningReply(RoundWriter):
    """Writes the reply of one round; the screen reads :attr:`pieces` when it draws.

    Attributes:
        begun_round: the round as the store had it before the reply, with the seed and the counts of
            the prompt once they are known.
        prompt: the prompt; None until it was read, or if a server does not report it.
        dropped_rounds: the number of oldest rounds that did not fit into the prompt.
        context_limit: the maximum of prompt and reply together, in tokens; 0 if unknown.
        output_tokens: the tokens so far.
        stopping: True after the user stopped the reply.
        discarded: True if the conversation is being deleted, so errors on saving are ignored.
    """

    def __init__(
        self,
        begun: Round,
        store: Store,
        report: Callable[[TurnMessage], None],
        begun_pieces: Sequence[Piece] = (),
    ) -> None:
        """
        Args:
            begun_pieces: the pieces of the reply that this one continues.
        """
        super().__init__(store, begun.id, self._report_save_error)
        self.begun_round = begun
        self.prompt: RenderedPrompt | None = None
        self.dropped_rounds = self.context_limit = self.output_tokens = 0
        self.stopping = self.discarded = False
        for piece in begun_pieces:
            self.add(piece.text, piece.token_id, piece.logprob)
        self._first_piece = len(begun_pieces)
        self._report = report
        self._reported_save_error = False
        self._opening = ""
        self._end: Round | None = None
        self._ended = asyncio.Event()
        self._saving_prompt: asyncio.Task[None] | None = None
        self._saving_end: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """True once the reply has ended, saved or not."""
        return self._end is not None

    @property
    def prompt_was_read(self) -> bool:
        """True once the backend has reported the prompt."""
        return self.begun_round.seed is not None

    @property
    def round(self) -> Round:
        """The round as it stands now."""
        text = "".join(piece.text for piece in self.pieces)
        return self._end or replace(
            self.begun_round, reply=text, output_tokens=self.output_tokens, seconds=self.seconds
        )

    @property
    def tokens_per_second(self) -> float:
        """The decode speed; 0 if it cannot be measured, as in a reply that came in one batch."""
        if not self.output_tokens or len(self.pieces) == self._first_piece:
            return 0.0
        span = self.pieces[-1].at_seconds - self.pieces[self._first_piece].at_seconds
        speed = (self.output_tokens - 1) / span if span >= MEASURABLE_SECONDS else 0.0
        return speed if speed < HIGHEST_SPEED else 0.0

    async def run(self, backend: Backend, request: GenerateRequest) -> BackendLost | None:
        """Run a request and handle its events; return when the backend is free again.

        Returns:
            The error if the backend has lost its model; the reply is then still open.
        """
        try:
            async for event in backend.generate(request):
                if not self.ended:
                    self.handle_event(event)
        except BackendLost as error:
            return error
        except ChatuiError as error:
            self.end("failed", error=str(error))
        except Exception:
            logger.exception("the reply broke off")
            return BackendLost(say("tui.turn.broke_off"))
        self.end("stopped" if self.stopping else "done")
        return None

    async def stop(self, backend: Backend) -> None:
        """Stop the backend, and end the reply if the backend does not end it soon."""
        self.stopping = True
        with suppress(ChatuiError):
            await backend.stop()
        with suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._ended.wait(), STOP_SECONDS)
        self.end("stopped")

    def handle_event(self, event: Prefill | Token | Done) -> None:
        """Handle the next event of the reply, before its end."""
        if isinstance(event, Token):
            if not self.output_tokens and self._opening and not self.pieces:
                self.add(self._opening)
            self.output_tokens += 1
            best = tuple((each.id, each.token, each.probability) for each in event.alternatives)
            self.add(event.text, event.id, event.logprob, best)
        elif isinstance(event, Prefill):
            self._take_prompt(event)
        else:
            self.output_tokens = event.output_tokens or self.output_tokens
            self.begun_round = replace(
                self.begun_round,
                seed=event.seed,
                prompt_tokens=event.prompt_tokens or self.begun_round.prompt_tokens,
                finish_reason=event.finish_reason,
            )
            text = event.text and self._opening + event.text
            self.end("stopped" if event.finish_reason == "cancelled" else "done", text)

    def _take_prompt(self, read: Prefill) -> None:
        self.begun_round = replace(
            self.begun_round,
            seed=read.seed,
            prompt_tokens=read.prompt_tokens,
            reused_tokens=read.reused_tokens,
        )
        self._opening = thought_opening(read.prompt)
        self.dropped_rounds, self.context_limit = read.dropped_rounds, read.context_limit
        if read.prompt:
            self.prompt = RenderedPrompt(
                read.prompt,
                read.input_ids,
                read.tokens,
                read.position_ids,
                read.dropped_rounds,
                read.context_limit,
                read.memory_bytes,
            )
            self._saving_prompt = asyncio.ensure_future(self._save_prompt(self.prompt))
        self._report(PromptRead(self.begun_round, read.notes))

    def end(self, state: RoundState, text: str | None = None, error: str | None = None) -> None:
        """End the reply, report it and begin to save it; later calls do nothing.

        Args:
            text: the reply; None for the text of the pieces.
        """
        if self.ended:
            return
        ended = replace(self.round, state=state, error=error)
        ended = ended if text is None else replace(ended, reply=text)
        self._end = replace(ended, finish_reason="cancelled") if state == "stopped" else ended
        self._saving_end = asyncio.ensure_future(self._save_end(self._end))
        self._ended.set()
        self._report(RoundEnded(self._end))

    async def wait_until_saved(self) -> None:
        """Wait until the ended reply is saved, or the error on saving it is reported."""
        if self._saving_end is not None:
            await asyncio.shield(self._saving_end)

    async def _save_end(self, ended: Round) -> None:
        try:
            await self.finish(ended)
        except ChatuiError as error:
            if not self.discarded:
                self._report(ErrorOccurred(str(error)))

    async def _save_prompt(self, prompt: RenderedPrompt) -> None:
        try:
            await self._store.queued(self._store.save_prompt, self.begun_round.id, prompt)
        except ChatuiError as error:
            self._report_save_error(error)

    def _report_save_error(self, error: ChatuiError) -> None:
        if not self._reported_save_error and not self.discarded:
            self._reported_save_error = True
            self._report(ErrorOccurred(str(error)))
