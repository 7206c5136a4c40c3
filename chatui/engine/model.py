"""A loaded model: network, codec and prompt format, and what its replies need to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from chatui.engine.codec import Codec
from chatui.messages import GenerateRequest, Loaded, ModelSpec
from chatui.prompting.format import PromptFormat

if TYPE_CHECKING:
    from torch import Tensor

    from chatui.engine.adapters.switching import AdaptableBase

Guard: TypeAlias = "Callable[[Tensor], Tensor]"
"""Logits ``[vocabulary]`` -> logits: an architecture's own answer to NaN."""

AfterReply: TypeAlias = Callable[["LoadedModel", GenerateRequest, str, Callable[[], bool]], None]
"""(model, request, its reply as kept, whether to stop): work for the time until the next query."""


class Network(Protocol):
    """What the decode loop needs of a network: logits for tokens."""

    reuses_prefix: bool
    """Whether what was read of a prompt's beginning serves every longer prompt."""

    def new_cache(self) -> Any:
        """What keeps the tokens that are read: a KV cache, or a recurrent state; none so far.

        Its ``get_seq_length()`` tells how many they are; the name is that of transformers' caches.
        """
        ...

    def prefill(
        self, ids: Sequence[int], cache: Any, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        """Read the part of ``ids`` that ``cache`` does not hold yet.

        Returns the logits of the next token, ``[vocabulary]`` float32; None if it was stopped. They
        are valid until the next call.
        """
        ...

    def step(self, token: int, cache: Any) -> Tensor:
        """Read one more token; returns what :meth:`prefill` returns."""
        ...

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        """The rows of position ids of a prompt of ``length`` tokens."""
        ...


class PromptCache(Protocol):
    """What is kept between replies, so that a prompt's known beginning is not read again.

    It is taken at a reply's start and put back at its end, so a reply that breaks off in between
    leaves nothing half-written behind.
    """

    @property
    def held_bytes(self) -> int:
        """Bytes that it takes."""
        ...

    def take(self, network: Network, ids: Sequence[int]) -> tuple[Any, int]:
        """What was read of the prompt ``ids``, and how many of its first tokens that is.

        The last token of a prompt is always read anew: its logits are wanted.
        """
        ...

    def put(self, network: Network, cache: Any, ids: list[int]) -> None:
        """Keep ``cache``, which has read exactly the tokens ``ids``."""
        ...


@dataclass
class LoadedModel:
    """Everything that generation needs.

    Attributes:
        spec: what was asked for.
        summary: what was loaded, as told to the app.
        network, codec, format: the three parts.
        eos_ids: tokens that end a reply.
        prompt_cache: what the network read last.
        guard: repairs logits before they are looked at; None leaves them.
        adaptable_base: what other adapters can be put on; None if none can.
        after_reply: done when a reply is out; None for nothing.
        mapped_bytes: of the weights that are pages of their files and take no memory of their own.
    """

    spec: ModelSpec
    summary: Loaded
    network: Network
    codec: Codec
    format: PromptFormat
    eos_ids: frozenset[int]
    prompt_cache: PromptCache
    guard: Guard | None = None
    adaptable_base: AdaptableBase | None = None
    after_reply: AfterReply | None = None
    mapped_bytes: int = 0

    @property
    def context_limit(self) -> int:
        """Tokens, prompt and reply together."""
        return self.summary.context_limit
