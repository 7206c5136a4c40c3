"""One streamed reply: the prompt that the server takes, the events, and the stop."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

import anyio
import msgspec.structs

from chatui.backends.openai import server_request
from chatui.backends.openai.chunk_decoder import ContextExceededError
from chatui.backends.openai.client import ServerClient
from chatui.backends.openai.reply_reader import ReplyReader
from chatui.backends.openai.server_request import Prompt
from chatui.locales import say
from chatui.messages import Done, GenerateRequest, Prefill, ReplyEvent, Token
from chatui.prompting.window import FittedPrompt
from chatui.text import StopStrings

_MAX_TRIES = 5
_LONG_PROMPT_TOKENS = 3000
"""Shorter prompts are expected to fit, with their reply, into the context of any server."""


class StreamedReply:
    """The reply of a server to one request."""

    def __init__(self, client: ServerClient, request: GenerateRequest) -> None:
        self._client = client
        self._request = request
        seed = request.sampling.seed
        self._seed = secrets.randbelow(1 << 31) if seed is None else seed
        self._stop_strings = (
            *client.format.stops_for(request.query),
            *client.spec.stop_strings,
            *request.stop_strings,
        )
        self._ending = StopStrings(self._stop_strings)
        self._reader = ReplyReader()
        self._prompt: FittedPrompt[Prompt] | None = None
        self._stopped = False
        self._waiting = anyio.CancelScope()

    def stop(self) -> None:
        """End the reply now, and keep the text so far."""
        self._stopped = True
        self._waiting.cancel()

    async def events(self) -> AsyncGenerator[ReplyEvent, None]:
        """Yield the events of the reply. Closing the generator closes the connection.

        Raises:
            ChatuiError: the request or the reply failed.
        """
        started = time.perf_counter()
        first_seconds = 0.0
        texts: list[str] = []
        ids: list[int] = []
        prefill: Prefill | None = None
        failure: Exception | None = None
        reader, ending = self._reader, self._ending
        try:
            async with aclosing(self._tokens()) as tokens:
                while token := await self._next(tokens):
                    if prefill is None:
                        yield (prefill := self._prefill())
                    # The start of a possible stop string is held back.
                    text = ending.add(token.text)
                    first_seconds = first_seconds or time.perf_counter() - started
                    texts.append(text)
                    ids.append(token.id)
                    yield msgspec.structs.replace(token, text=text)
        except Exception as error:
            failure = error
        if rest := ending.flush():
            texts.append(rest)
            yield Token(rest)
        if failure is not None:
            raise failure
        if prefill is None:
            yield (prefill := self._prefill())
        reason = "stop" if ending.stopped else reader.reason
        if self._stopped and not reader.finish and not ending.stopped:
            reason = "cancelled"
        partial = self._request.partial_reply
        begun = partial.text if partial else ""
        yield Done(
            text=self._client.format.clean(self._request.query, begun + "".join(texts)),
            finish_reason=reason,
            output_ids=tuple(ids) if -1 not in ids else (),
            seed=self._seed,
            prompt_tokens=reader.prompt_tokens or prefill.prompt_tokens,
            output_tokens=reader.output_tokens or len(ids),
            first_token_seconds=first_seconds,
            total_seconds=time.perf_counter() - started,
        )

    async def _next(self, tokens: AsyncGenerator[Token, None]) -> Token | None:
        """Return the next token; None at the end, and at once after a stop."""
        if self._stopped or self._ending.stopped:
            return None
        with anyio.CancelScope() as self._waiting:
            return await anext(tokens, None)
        return None

    async def _tokens(self) -> AsyncGenerator[Token, None]:
        """Send the request, and again with fewer rounds if the server finds it too long."""
        client, request = self._client, self._request
        extra = {"seed": self._seed, "stream_options": {"include_usage": True}}
        if self._stop_strings:
            extra["stop"] = list(self._stop_strings)
        if request.alternatives:
            extra |= server_request.logprob_fields(request.alternatives, chat=client.chat)
        prompt = await client.fit(request)
        for tries_left in reversed(range(_MAX_TRIES)):
            self._prompt = prompt
            body = client.body(request, prompt) | extra
            try:
                async with aclosing(client.stream(body, self._reader)) as tokens:
                    async for token in tokens:
                        yield token
                return
            except ContextExceededError as error:
                if not prompt.history or not tries_left:
                    raise client.connection.error("too_long", str(error)) from error
                kept = prompt.history[-(-len(prompt.history) // 3) :]
                shorter = await client.fit(replace(request, history=kept))
                dropped = len(request.history) - len(shorter.history)
                prompt = replace(shorter, dropped_rounds=dropped)

    def _prefill(self) -> Prefill:
        prompt = self._prompt
        if prompt is None:
            # Stopped before the prompt was ready.
            return Prefill(prompt="", seed=self._seed)
        return Prefill(
            prompt=server_request.prompt_as_text(prompt.prompt),
            prompt_tokens=prompt.tokens if self._client.counter else 0,
            context_limit=self._request.limit(self._client.context_limit),
            dropped_rounds=prompt.dropped_rounds,
            seed=self._seed,
            notes=self._new_notes(prompt),
        )

    def _new_notes(self, prompt: FittedPrompt[Prompt]) -> tuple[str, ...]:
        """Return notes on lengths and refused fields that were not shown before."""
        client = self._client
        notes = []
        if prompt.dropped_rounds and not client.counter:
            notes.append(say("backends.lengths_estimated"))
        elif prompt.tokens > _LONG_PROMPT_TOKENS and not client.context_limit:
            notes.append(say("backends.limit_unknown"))
        if self._request.think is not None and not client.chat:
            notes.append(say("prompting.no_thinking_switch"))
        asked = server_request.requested_fields(self._request)
        if refused := sorted(client.refused_fields & asked):
            notes.append(say("backends.fields_refused", names=", ".join(refused)))
        new = tuple(note for note in notes if note not in client.shown_notes)
        client.shown_notes.update(new)
        return new
