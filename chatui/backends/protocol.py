"""The protocol between backends and the app or the command line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, runtime_checkable

from chatui.messages import GenerateRequest, Inspection, LoadEvent, ModelSpec, ReplyEvent, Scored


@runtime_checkable
class Backend(Protocol):
    """Runs one model at a time. All methods are called from one asyncio loop and never block it.

    Implementations are classes without constructor arguments, registered in the entry point group
    ``chatui.backends``.
    """

    def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        """Load ``spec``; yields progress and finally one :class:`~chatui.messages.Loaded`.

        Raises:
            ChatuiError: the model cannot be loaded; the previous model is kept.
        """
        ...

    def generate(self, request: GenerateRequest) -> AsyncIterator[ReplyEvent]:
        """Generate a reply: yields one ``Prefill``, any number of ``Token``, and one ``Done``.

        Raises:
            ChatuiError: the reply failed; the events before stay valid.
            BackendLost: the reply failed and the model is lost; load it again.
        """
        ...

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        """Return the prompt for ``request`` and the ``top`` candidates for the next token."""
        ...

    async def stop(self) -> None:
        """End the running reply after at most one more token, with the reason "cancelled"."""
        ...

    async def close(self) -> None:
        """Unload the model and free its memory."""
        ...


@runtime_checkable
class ScoringBackend(Protocol):
    """Optional protocol of backends that can score a given reply."""

    async def score(self, request: GenerateRequest) -> Scored:
        """Return the probabilities of the tokens of ``request.partial_reply.text``.

        Raises:
            ChatuiError: the prompt does not fit, or the model is lost.
        """
        ...
