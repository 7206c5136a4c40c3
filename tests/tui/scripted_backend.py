"""A backend with scripted replies and a scripted speed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from chatui.errors import BackendLost, ChatuiError
from chatui.messages import (
    Done,
    GenerateRequest,
    Inspection,
    Loaded,
    LoadEvent,
    Loading,
    ModelSpec,
    Prefill,
    ReplyEvent,
    Token,
)


class ScriptedBackend:
    """A :class:`Backend` that answers with ``replies`` in order, then repeats the last one.

    Attributes:
        delay_seconds: the delay before each token and before a missing model is reported.
        load_gate: a load waits until this is set.
        hold_after: the number of tokens after which a reply waits for ``reply_gate``, or None.
        fail_after: the number of tokens after which a reply fails, or None.
        lost: whether a failed reply also loses the model.
        gone: True if the model is missing; the next load resets it.
        deaf: True to ignore a stop.
        requests, specs: the requests and specs received.
    """

    def __init__(
        self, replies: Sequence[Sequence[str] | str] = ("好",), delay_seconds: float = 0.0
    ) -> None:
        self.replies = [list(reply) for reply in replies]
        self.delay_seconds = delay_seconds
        self.load_gate = asyncio.Event()
        self.load_gate.set()
        self.hold_after: int | None = None
        self.reply_gate = asyncio.Event()
        self.refuse_load = ""
        self.refuse_adapters = ""
        self.refuse_query = ""
        self.fail_after: int | None = None
        self.lost = True
        self.gone = False
        self.deaf = False
        self.dropped_rounds = 0
        self.can_switch_thinking = False
        self.load_notes: tuple[str, ...] = ()
        self.round_notes: tuple[str, ...] = ()
        self.closed = False
        self.requests: list[GenerateRequest] = []
        self.specs: list[ModelSpec] = []
        self._stopped = False

    async def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        self.specs.append(spec)
        yield Loading("weights", 5_000_000, 20_000_000)
        await self.load_gate.wait()
        if self.refuse_load:
            raise ChatuiError(self.refuse_load)
        if self.refuse_adapters and spec.adapters:
            raise ChatuiError(self.refuse_adapters)
        self.gone = False
        yield Loaded(
            spec.name,
            "gpt2",
            "chatglm-6b",
            512,
            notes=self.load_notes,
            can_switch_thinking=self.can_switch_thinking,
        )

    async def generate(self, request: GenerateRequest) -> AsyncIterator[ReplyEvent]:
        if self.gone:
            await asyncio.sleep(self.delay_seconds)
            raise BackendLost("The engine died (code 1).")
        self.requests.append(request)
        self._stopped = False
        if self.refuse_query:
            raise ChatuiError(self.refuse_query)
        pieces = self.replies[min(len(self.requests), len(self.replies)) - 1]
        yield Prefill("…", 10, 4, 512, self.dropped_rounds, 7, self.round_notes)
        said: list[str] = []
        begun = request.partial_reply.text if request.partial_reply else ""
        for piece in pieces:
            await asyncio.sleep(self.delay_seconds)
            if len(said) == self.hold_after:
                await self.reply_gate.wait()
                self.reply_gate.clear()
            if self._stopped and not self.deaf:
                yield Done(begun + "".join(said), "cancelled", (), 7, 10, len(said))
                return
            if self.fail_after is not None and len(said) == self.fail_after:
                error = BackendLost if self.lost else ChatuiError
                raise error("The engine died (code 1).")
            said.append(piece)
            yield Token(piece, len(said))
        yield Done(begun + "".join(said), "eos", (), 7, 10, len(said))

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        return Inspection("…")

    async def stop(self) -> None:
        self._stopped = True

    async def close(self) -> None:
        self.closed = True
