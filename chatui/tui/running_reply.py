"""One reply while it is written: the backend's events in, saved pieces and messages out."""

from __future__ import annotations

import asyncio
import logging
import time
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


class RunningReply:
    """Writes the reply of one round; the screen reads :attr:`pieces` when it draws.

    Attributes:
        begun_round: the round as the store had it before the reply, with the seed once known.
        prompt: the prompt; None until it was read, or if a server does not report it.
        prompt_tokens, reused_tokens, output_tokens: the counts so far.
        dropped_rounds: the number of oldest rounds that did not fit into the prompt.
        context_limit: the maximum of prompt and reply together, in tokens; 0 if unknown.
        stopping: True after the user stopped the reply.
        discarded: True if the conversation is being deleted, so errors on saving are ignored.
        model_lost: True if the backend has no model any more.
    """

    def __init__(
        self,
        begun: Round,
        store: Store,
        report: Callable[[TurnMessage], None],
        begun_pieces: Sequence[Piece] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            begun_pieces: the pieces of the reply that this one continues.
        """
        self.begun_round = begun
        self.prompt: RenderedPrompt | None = None
        self.prompt_tokens = 0
        self.reused_tokens = 0
        self.output_tokens = 0
        self.dropped_rounds = 0
        self.context_limit = 0
        self.stopping = False
        self.discarded = False
        self.model_lost = False
        self._store = store
        self._writer = RoundWriter(store, begun.id, self._report_save_error)
        for piece in begun_pieces:
            self._writer.add(piece.text, piece.token_id, piece.logprob)
        self._report = report
        self._clock = clock
        self._first_token_at = 0.0
        self._last_token_at = 0.0
        self._reported_save_error = False
        self._prompt_was_read = False
        self._opening = ""
        self._end: Round | None = None
        self._ended = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def ended(self) -> bool:
        """True once the reply has ended, saved or not."""
        return self._end is not None

    @property
    def pieces(self) -> list[Piece]:
        """The reply so far."""
        return self._writer.pieces

    @property
    def text(self) -> str:
        """The text of all pieces."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def round(self) -> Round:
        """The round as it stands now."""
        return self._end or replace(self.begun_round, reply=self.text)

    @property
    def tokens_per_second(self) -> float:
        """The decode speed; 0 if it cannot be measured, as in a reply that came in one batch."""
        span = self._last_token_at - self._first_token_at
        speed = (self.output_tokens - 1) / span if span >= MEASURABLE_SECONDS else 0.0
        return speed if speed < HIGHEST_SPEED else 0.0

    async def run(
        self, backend: Backend, request: GenerateRequest, *, model_may_be_gone: bool = False
    ) -> None:
        """Run a request and handle its events; return when the backend is free again.

        Args:
            model_may_be_gone: if the model is missing before the prompt was read, set
                ``model_lost`` and leave the reply open.
        """
        self.model_lost = False
        try:
            async for event in backend.generate(request):
                if not self.ended:
                    self.handle_event(event)
        except BackendLost as error:
            self.model_lost = True
            if model_may_be_gone and not self._prompt_was_read:
                return
            self.finish("failed", error=str(error))
        except ChatuiError as error:
            self.finish("failed", error=str(error))
        except Exception:
            logger.exception("the reply broke off")
            self.model_lost = True
            self.finish("failed", error=say("tui.turn.broke_off"))
        self.finish("stopped" if self.stopping else "done")

    async def stop(self, backend: Backend) -> None:
        """Stop the backend, and end the reply if the backend does not end it soon."""
        self.stopping = True
        with suppress(ChatuiError):
            await backend.stop()
        with suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._ended.wait(), STOP_SECONDS)
        self.finish("stopped")

    def finish(
        self, state: RoundState, *, done: Done | None = None, error: str | None = None
    ) -> None:
        """End the reply, report it and begin to save it; later calls do nothing."""
        if self.ended:
            return
        text = self.text if done is None else done.text and self._opening + done.text
        reason = None if done is None else done.finish_reason
        self._end = replace(
            self.begun_round,
            state=state,
            reply=text,
            finish_reason="cancelled" if state == "stopped" else reason,
            seed=self.begun_round.seed if done is None else done.seed,
            prompt_tokens=self.prompt_tokens,
            reused_tokens=self.reused_tokens,
            output_tokens=self.output_tokens,
            seconds=self._writer.seconds,
            error=error,
        )
        self._saving = asyncio.ensure_future(self._save(self._end))
        self._ended.set()
        self._report(RoundEnded(self._end))

    async def wait_until_saved(self) -> None:
        """Wait until the ended reply is saved, or the error on saving it is reported."""
        if self._saving is not None:
            await asyncio.shield(self._saving)

    async def _save(self, ended: Round) -> None:
        try:
            await self._writer.finish(ended)
        except ChatuiError as error:
            if not self.discarded:
                self._report(ErrorOccurred(str(error)))

    def _report_save_error(self, error: ChatuiError) -> None:
        if not self._reported_save_error and not self.discarded:
            self._reported_save_error = True
            self._report(ErrorOccurred(str(error)))

    def handle_event(self, event: Prefill | Token | Done) -> None:
        """Handle the next event of the reply, before its end."""
        if isinstance(event, Token):
            self._add_token(event)
        elif isinstance(event, Prefill):
            self._prompt_was_read = True
            self.begun_round = replace(self.begun_round, seed=event.seed)
            self._opening = thought_opening(event.prompt)
            self.prompt_tokens = event.prompt_tokens
            self.reused_tokens = event.reused_tokens
            self.dropped_rounds = event.dropped_rounds
            self.context_limit = event.context_limit
            if event.prompt:
                self._keep_prompt(event)
            self._report(PromptRead(self.begun_round, event.notes))
        else:
            self.prompt_tokens = event.prompt_tokens or self.prompt_tokens
            self.output_tokens = event.output_tokens or self.output_tokens
            self.finish("stopped" if event.finish_reason == "cancelled" else "done", done=event)

    def _keep_prompt(self, event: Prefill) -> None:
        """Save the prompt beside the reply."""
        self.prompt = RenderedPrompt(
            event.prompt,
            event.input_ids,
            event.tokens,
            event.position_ids,
            event.dropped_rounds,
            event.context_limit,
            event.memory_bytes,
        )
        self._keeping = asyncio.ensure_future(self._save_prompt(self.prompt))

    async def _save_prompt(self, prompt: RenderedPrompt) -> None:
        try:
            await self._store.queued(self._store.save_prompt, self.begun_round.id, prompt)
        except ChatuiError as error:
            self._report_save_error(error)

    def _add_token(self, token: Token) -> None:
        self._last_token_at = self._clock()
        if not self.output_tokens:
            self._first_token_at = self._last_token_at
            if self._opening and not self.pieces:
                self._writer.add(self._opening)
        self.output_tokens += 1
        best = tuple((each.id, each.token, each.probability) for each in token.alternatives)
        self._writer.add(token.text, token.id, token.logprob, best)
