"""One reply from a server, read in a task of its own so that it can be stopped at any moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from chatui.backends.openai.deltas import Delta
from chatui.backends.openai.server_errors import DroppedError
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Done, Prefill, ReplyEvent, Token
from chatui.text import StopStrings

STALL_SECONDS = 120.0
"""A server that has begun to answer and then is silent for so long is given up."""

Begin: TypeAlias = Callable[[], Awaitable[tuple[Prefill, list[Delta], AsyncGenerator[Delta, None]]]]
"""Sends the request; returns what was read, the deltas that came with it, and those to come."""


@dataclass
class StreamedReply:
    """The state of one reply.

    Attributes:
        stop_strings: end it, also if the server does not know them.
        clean: the clean-up of the finished text.
        seed: that was sent.
        url: of the server, for error sentences.
    """

    stop_strings: tuple[str, ...]
    clean: Callable[[str], str]
    seed: int
    url: str
    stopped: bool = False
    items: asyncio.Queue[Delta | Prefill | Exception | None] = field(default_factory=asyncio.Queue)

    def stop(self) -> None:
        """End the reply now; what came stays."""
        self.stopped = True
        self.items.put_nowait(None)

    async def events(self, begin: Begin) -> AsyncIterator[ReplyEvent]:
        """The events of the reply. Leaving in the middle closes the connection.

        Raises:
            ChatuiError: the reply could not be begun or broke off.
        """
        started = time.perf_counter()
        reader = asyncio.create_task(self._read(begin))
        ending = StopStrings(self.stop_strings)
        texts: list[str] = []
        ids: list[int] = []
        last = Delta()
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
                for token in _shown(item.tokens, ending):
                    first_seconds = first_seconds or time.perf_counter() - started
                    texts.append(token.text)
                    ids.append(token.id)
                    yield token
                if item.finish or item.prompt_tokens or item.output_tokens:
                    last = item.after(last)
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
            # Stopped before the server had begun to answer.
            yield (prefill := Prefill(prompt="", seed=self.seed))
        stopped = self.stopped and not last.finish and not ending.stopped
        yield Done(
            text=self.clean("".join(texts)),
            finish_reason="stop" if ending.stopped else "cancelled" if stopped else last.reason,
            output_ids=tuple(ids) if -1 not in ids else (),
            seed=self.seed,
            prompt_tokens=last.prompt_tokens or prefill.prompt_tokens,
            output_tokens=last.output_tokens or len(ids),
            first_token_seconds=first_seconds,
            total_seconds=time.perf_counter() - started,
        )

    async def _read(self, begin: Begin) -> None:
        """Put the deltas of the reply into the queue, then None or the error that ended it."""
        begun = False
        watch: _StallWatch | None = None
        end: Exception | None = None
        try:
            prefill, first, deltas = await begin()
            self.items.put_nowait(prefill)
            for delta in first:
                self.items.put_nowait(delta)
            begun = any(delta.tokens for delta in first)
            watch = _StallWatch(STALL_SECONDS)
            async with aclosing(deltas):
                async for delta in deltas:
                    watch.saw_something()
                    begun = begun or bool(delta.tokens)
                    self.items.put_nowait(delta)
        except asyncio.CancelledError:
            if watch is None or not watch.stalled:
                raise
            end = ChatuiError(say("backends.stalled", url=self.url))
        except DroppedError:
            end = ChatuiError(say(f"backends.{'dropped' if begun else 'no_reply'}", url=self.url))
        except Exception as error:
            end = error
        finally:
            if watch is not None:
                watch.end()
        self.items.put_nowait(end)


class _StallWatch:
    """Cancels the current task when nothing was seen for some seconds.

    A timer that looks at a time stamp: a chunk costs one stamp, where a timeout around each read
    would cost a timer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._last = self._loop.time()
        self._timer = self._loop.call_later(seconds, self._look)
        self.stalled = False

    def saw_something(self) -> None:
        self._last = self._loop.time()

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        left = self._last + self._seconds - self._loop.time()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        elif self._task is not None:
            self.stalled = True
            self._task.cancel()


def _shown(tokens: tuple[Token, ...], ending: StopStrings) -> Iterator[Token]:
    """The tokens with what may become a stop string held back; none after a stop string."""
    for token in tokens:
        if ending.stopped:
            return
        text = ending.add(token.text)
        yield token if text == token.text else replace(token, text=text)
