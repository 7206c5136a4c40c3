"""One reply while it is written: the backend's events in, saved pieces and messages out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from chatui.backends.protocol import Backend
from chatui.conversation.rounds import Round, State
from chatui.conversation.writer import RoundWriter
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import Done, GenerateRequest, Prefill, Token
from chatui.prompting.parts import opened_by
from chatui.tui.turn_messages import PromptRead, ReplyGrew, RoundEnded, Trouble, TurnMessage

STOP_SECONDS = 0.3
"""A backend that has not ended the reply so long after a stop is not waited for."""

logger = logging.getLogger(__name__)


class Reply:
    """Writes the reply of one round.

    Attributes:
        round: as it was begun.
        prompt_tokens, reused_tokens, output_tokens: counts so far.
        context_limit: tokens, prompt and reply together; 0 where it is not known.
        stopping: the user wants no more of it.
        lost: the backend has no model any more.
    """

    def __init__(
        self,
        round_: Round,
        writer: RoundWriter,
        tell: Callable[[TurnMessage], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.round = round_
        self.prompt_tokens = 0
        self.reused_tokens = 0
        self.output_tokens = 0
        self.context_limit = 0
        self.stopping = False
        self.lost = False
        self._writer = writer
        self._tell = tell
        self._clock = clock
        self._first_token_at = 0.0
        self._last_token_at = 0.0
        self._told_problem = False
        self._begun = False
        self._opening = ""
        self._ended = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether the round has its end."""
        return self._ended.is_set()

    @property
    def tokens_per_second(self) -> float:
        """Decode speed; 0 where there is nothing to tell."""
        span = self._last_token_at - self._first_token_at
        return (self.output_tokens - 1) / span if self.output_tokens > 1 and span > 0 else 0.0

    async def run(
        self, backend: Backend, request: GenerateRequest, *, may_be_gone: bool = False
    ) -> None:
        """Take all events of ``request``; returns when the backend is free again.

        Args:
            may_be_gone: a model that turns out to be gone before anything was read does not end
                the round, but is told by ``lost`` alone.
        """
        self.lost = False
        try:
            async for event in backend.generate(request):
                if not self.ended:
                    self._take(event)
        except BackendLost as error:
            self.lost = True
            if may_be_gone and not self._begun:
                return
            self.finish("failed", error=str(error))
        except ChatuiError as error:
            self.finish("failed", error=str(error))
        except Exception:
            logger.exception("the reply broke off")
            self.lost = True
            self.finish("failed", error=say("tui.turn.broke_off"))
        self.finish("stopped" if self.stopping else "done")

    async def stop(self, backend: Backend) -> None:
        """Stop the backend; if it does not answer soon, the reply ends without it."""
        self.stopping = True
        with suppress(ChatuiError):
            await backend.stop()
        with suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(self._ended.wait(), STOP_SECONDS)
        self.finish("stopped")

    def finish(self, state: State, *, done: Done | None = None, error: str | None = None) -> None:
        """Save the end and tell it; a reply that has ended stays as it is."""
        if self.ended:
            return
        self._ended.set()
        text = self._writer.text if done is None else done.text
        if done is not None and text:
            text = self._opening + text
        reason = None if done is None else done.finish_reason
        try:
            ended = self._writer.finish(
                state,
                text,
                finish_reason="cancelled" if state == "stopped" else reason,
                seed=None if done is None else done.seed,
                prompt_tokens=self.prompt_tokens,
                reused_tokens=self.reused_tokens,
                output_tokens=self.output_tokens,
                error=error,
            )
        except ChatuiError as problem:
            self._tell(Trouble(str(problem)))
            ended = replace(self.round, reply=text, state=state, error=error)
        self._tell(RoundEnded(ended))

    def _take(self, event: Prefill | Token | Done) -> None:
        if isinstance(event, Token):
            self._take_token(event)
        elif isinstance(event, Prefill):
            self._begun = True
            self._opening = opened_by(event.prompt)
            self.prompt_tokens = event.prompt_tokens
            self.reused_tokens = event.reused_tokens
            self.context_limit = event.context_limit
            self._tell(PromptRead(self.round.id, event))
        else:
            self.prompt_tokens = event.prompt_tokens or self.prompt_tokens
            self.output_tokens = event.output_tokens or self.output_tokens
            self.finish("stopped" if event.finish_reason == "cancelled" else "done", done=event)

    def _take_token(self, token: Token) -> None:
        self._last_token_at = self._clock()
        if not self.output_tokens:
            self._first_token_at = self._last_token_at
            if self._opening:
                self._writer.add(self._opening)
                self._tell(ReplyGrew(self.round.id, self._opening))
        self.output_tokens += 1
        self._writer.add(token.text, token.id, token.logprob)
        if self._writer.problem is not None and not self._told_problem:
            self._told_problem = True
            self._tell(Trouble(str(self._writer.problem)))
        if token.text:
            self._tell(ReplyGrew(self.round.id, token.text))
