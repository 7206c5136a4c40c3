"""One reply from a server, read in a task of its own so that it can be stopped at any moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from chatui.backends.openai.link import DroppedError
from chatui.backends.openai.reading import ChunkReader, Piece
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Done, FinishReason, Prefill, ReplyEvent, Token
from chatui.text import StopStrings

STALL_SECONDS = 120.0
"""A server that has begun to answer and then is silent for so long is given up."""


@dataclass(frozen=True)
class Begun:
    """The server has begun to answer: what it reads, and its chunks."""

    prefill: Prefill
    chunks: AsyncIterator[Any]


Begin: TypeAlias = Callable[[], Awaitable[Begun]]


@dataclass
class Reply:
    """The state of one reply.

    Attributes:
        stop_strings: end it, also where the server does not know them.
        clean: the clean-up of the finished text.
        seed: that was sent.
        url: of the server, for error sentences.
    """

    stop_strings: tuple[str, ...]
    clean: Callable[[str], str]
    seed: int
    url: str
    stopped: bool = False
    items: asyncio.Queue[Piece | Prefill | ChatuiError | Exception | None] = field(
        default_factory=asyncio.Queue
    )

    def stop(self) -> None:
        """End the reply now; what came stays."""
        self.stopped = True
        self.items.put_nowait(None)


async def run_reply(reply: Reply, begin: Begin) -> AsyncIterator[ReplyEvent]:
    """The events of one reply. Leaving in the middle closes the connection.

    Raises:
        ChatuiError: the reply could not be begun or broke off.
    """
    started = time.perf_counter()
    reader = asyncio.create_task(_read(reply, begin))
    ending = StopStrings(reply.stop_strings)
    texts: list[str] = []
    ids: list[int] = []
    last = Piece()
    prefill: Prefill | None = None
    first_seconds = 0.0
    failure: Exception | None = None
    finish: FinishReason = "cancelled"
    try:
        while not reply.stopped:
            item = await reply.items.get()
            if item is None:
                break
            if isinstance(item, Exception):
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
                last = _merged(last, item)
            if ending.stopped:
                break
        finish = _finish_reason(reply, ending, last)
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
        yield (prefill := Prefill(prompt="", seed=reply.seed))
    yield Done(
        text=reply.clean("".join(texts)),
        finish_reason=finish,
        output_ids=tuple(ids) if -1 not in ids else (),
        seed=reply.seed,
        prompt_tokens=last.prompt_tokens or prefill.prompt_tokens,
        output_tokens=last.output_tokens or len(ids),
        first_token_seconds=first_seconds,
        total_seconds=time.perf_counter() - started,
    )


async def _read(reply: Reply, begin: Begin) -> None:
    """Put the pieces of the reply into its queue, then None or the error that ended it."""
    try:
        begun = await begin()
        reply.items.put_nowait(begun.prefill)
        reply.items.put_nowait(await _read_chunks(reply, begun.chunks))
    except Exception as error:
        reply.items.put_nowait(error)


async def _read_chunks(reply: Reply, chunks: AsyncIterator[Any]) -> ChatuiError | None:
    """None, or why the stream is not whole."""
    reader = ChunkReader()
    finished = begun = False
    watch = _Watch(STALL_SECONDS)
    try:
        async for chunk in chunks:
            watch.saw_something()
            piece = reader.read(chunk)
            finished = finished or bool(piece.finish)
            begun = begun or bool(piece.tokens)
            reply.items.put_nowait(piece)
    except asyncio.CancelledError:
        if not watch.stalled:
            raise
        return ChatuiError(say("backends.stalled", url=reply.url))
    except (AttributeError, LookupError, TypeError, ValueError):
        return ChatuiError(say("backends.garbage", url=reply.url))
    except DroppedError:
        finished = False
    finally:
        watch.end()
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
    if finished:
        return None
    return ChatuiError(say(f"backends.{'dropped' if begun else 'no_reply'}", url=reply.url))


class _Watch:
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


def _merged(last: Piece, piece: Piece) -> Piece:
    """What is known so far of the reply's end."""
    return Piece(
        (),
        piece.finish or last.finish,
        piece.stopped_by_string or last.stopped_by_string,
        piece.prompt_tokens or last.prompt_tokens,
        piece.output_tokens or last.output_tokens,
    )


def _finish_reason(reply: Reply, ending: StopStrings, last: Piece) -> FinishReason:
    if ending.stopped or last.stopped_by_string:
        return "stop"
    if last.finish == "length":
        return "length"
    if last.finish:
        return "eos"
    return "cancelled" if reply.stopped else "eos"
