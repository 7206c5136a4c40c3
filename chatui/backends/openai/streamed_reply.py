"""A streamed reply from a server, read in a separate task so that it can be stopped at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio
import msgspec.structs

from chatui.backends.openai.deltas import ReplyReader
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Done, Prefill, ReplyEvent, Token
from chatui.text import StopStrings

STALL_SECONDS = 120.0
"""Maximum seconds between two chunks of a reply."""

USAGE_SECONDS = 2.0
"""Seconds to wait for the token counts after the end of the reply."""


@dataclass
class StreamedReply:
    """The state of one reply.

    Attributes:
        stop_strings: strings that end the reply, also if the server ignores them.
        clean: cleans up the finished text.
        seed: the seed that was sent.
        url: address of the server, for error sentences.
        reader: reader of the server's chunks.
    """

    stop_strings: tuple[str, ...]
    clean: Callable[[str], str]
    seed: int
    url: str
    reader: ReplyReader = field(default_factory=ReplyReader)
    stopped: bool = False
    items: asyncio.Queue[list[Token] | Prefill | Exception | None] = field(
        default_factory=asyncio.Queue
    )

    def stop(self) -> None:
        """End the reply now, and keep the text so far."""
        self.stopped = True
        self.items.put_nowait(None)

    async def events(
        self, answer: AsyncGenerator[Prefill | list[Token], None]
    ) -> AsyncIterator[ReplyEvent]:
        """Yield the events of the reply. Closing the generator closes the connection.

        Args:
            answer: sends the request when it is iterated.

        Raises:
            ChatuiError: the request or the reply failed.
        """
        started = time.perf_counter()
        reader = asyncio.create_task(self._read(answer))
        ending = StopStrings(self.stop_strings)
        texts: list[str] = []
        ids: list[int] = []
        prefill: Prefill | None = None
        first_seconds = 0.0
        failure: Exception | None = None
        try:
            while not self.stopped and not ending.stopped:
                item = await self.items.get()
                if item is None or isinstance(item, Exception):
                    failure = item
                    break
                if isinstance(item, Prefill):
                    prefill = item
                    yield item
                    continue
                for token in _shown(item, ending):
                    first_seconds = first_seconds or time.perf_counter() - started
                    texts.append(token.text)
                    ids.append(token.id)
                    yield token
            rest = ending.flush()
            if rest:
                texts.append(rest)
                yield Token(rest)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
        if failure is not None:
            raise failure
        if prefill is None:
            # Stopped before the server began to answer.
            yield (prefill := Prefill(prompt="", seed=self.seed))
        reason = "stop" if ending.stopped else self.reader.reason
        if self.stopped and not self.reader.finish and not ending.stopped:
            reason = "cancelled"
        yield Done(
            text=self.clean("".join(texts)),
            finish_reason=reason,
            output_ids=tuple(ids) if -1 not in ids else (),
            seed=self.seed,
            prompt_tokens=self.reader.prompt_tokens or prefill.prompt_tokens,
            output_tokens=self.reader.output_tokens or len(ids),
            first_token_seconds=first_seconds,
            total_seconds=time.perf_counter() - started,
        )

    async def _read(self, answer: AsyncGenerator[Prefill | list[Token], None]) -> None:
        """Put the answer's items into the queue, then the error that ended it, or None."""
        end: Exception | None = None
        begun = finished = False
        try:
            # asyncio.wait_for loses a cancellation that arrives with an item (Python < 3.12).
            with anyio.CancelScope() as timeout:
                async with aclosing(answer):
                    async for item in answer:
                        self.items.put_nowait(item)
                        begun = begun or isinstance(item, Prefill)
                        if begun and not finished:
                            finished = bool(self.reader.finish)
                            seconds = USAGE_SECONDS if finished else STALL_SECONDS
                            timeout.deadline = anyio.current_time() + seconds
            if timeout.cancelled_caught and not finished:
                end = ChatuiError(say("backends.stalled", url=self.url))
        except Exception as error:
            end = error
        self.items.put_nowait(end)


def _shown(tokens: list[Token], ending: StopStrings) -> Iterator[Token]:
    """Yield the tokens, with the start of a possible stop string held back."""
    for token in tokens:
        if ending.stopped:
            return
        text = ending.add(token.text)
        yield token if text == token.text else msgspec.structs.replace(token, text=text)
