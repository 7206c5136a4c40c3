"""The protocol that every backend offers to the app and the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from chatui.messages import GenerateRequest, Inspection, LoadEvent, ModelSpec, ReplyEvent, Scored


@runtime_checkable
class Backend(Protocol):
    """Runs one model at a time. All methods belong to one asyncio loop and never block it.

    A class that fulfils this protocol and takes no arguments is found through the entry point
    group ``chatui.backends``.
    """

    def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        """Load ``spec``, yielding progress and at last one :class:`~chatui.messages.Loaded`.

        Raises:
            ChatuiError: the model cannot be loaded; a model loaded before is kept.
        """
        ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[ReplyEvent]:
        """Answer: one ``Prefill``, any number of ``Token``, one ``Done``.

        Raises:
            ChatuiError: the reply cannot be begun or broke off; what came before stays valid.
            BackendLost: likewise, and the model is gone with it (load it again).
        """
        ...

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        """What the model would read for ``request``, and the ``top`` candidates to come next."""
        ...

    async def stop(self) -> None:
        """End the running reply after at most one more token; ``Done`` says "cancelled"."""
        ...

    async def close(self) -> None:
        """Unload the model and give back its memory."""
        ...


@runtime_checkable
class ScoringBackend(Protocol):
    """An optional protocol: the backend can score a reply that it did not write."""

    async def score(self, request: GenerateRequest) -> Scored:
        """Return the probabilities of the tokens of ``request.partial_reply.text``.

        Raises:
            ChatuiError: the rounds do not fit, or the model is gone.
        """
        ...
