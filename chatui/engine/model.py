"""A loaded model: its network, codec and prompt format, and the protocols of its parts."""

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
"""Logits ``[vocabulary]`` -> logits: an architecture's repair of NaN."""

AfterReply: TypeAlias = Callable[["LoadedModel", GenerateRequest, str, Callable[[], bool]], None]
"""(model, request, reply text, stop_wanted): work to do before the next query."""


class Network(Protocol):
    """A network for the decode loop: token ids in, logits out."""

    reuses_prefix: bool
    """Whether the cache of a prompt's beginning can be reused for a longer prompt."""

    def new_cache(self) -> Any:
        """Return an empty KV cache or recurrent state.

        Its ``get_seq_length()``, named as in transformers, returns the number of tokens read.
        """
        ...

    def prefill(
        self, ids: Sequence[int], cache: Any, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        """Read the tokens of ``ids`` that are not in ``cache`` yet.

        Returns the logits of the next token, ``[vocabulary]`` float32, valid until the next call;
        None if it was stopped.
        """
        ...

    def step(self, token: int, cache: Any) -> Tensor:
        """Read one more token, and return the logits as :meth:`prefill` does."""
        ...

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        """Return the rows of position ids of a prompt of ``length`` tokens."""
        ...


class PromptCache(Protocol):
    """The cache kept between replies, so that a prompt's known beginning is not read again.

    It is taken at the start of a reply and put back at its end: a reply that fails discards it.
    """

    @property
    def held_bytes(self) -> int:
        """Memory in use, in bytes."""
        ...

    def take(self, network: Network, ids: Sequence[int]) -> tuple[Any, int]:
        """Return a cache for the prompt ``ids``, and the number of its first tokens in the cache.

        The last token is never included, because its logits are needed.
        """
        ...

    def put(self, network: Network, cache: Any, ids: list[int]) -> None:
        """Keep ``cache``, which holds exactly the tokens ``ids``."""
        ...


def common_prefix(first: Sequence[object], second: Sequence[object]) -> int:
    """Return the number of equal tokens at the start of both."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count


@dataclass
class LoadedModel:
    """A model ready to generate.

    Attributes:
        spec: the spec it was loaded from.
        summary: the event sent to the app.
        network, codec, format: its parts.
        eos_ids: tokens that end a reply.
        prompt_cache: the cache of the last prompt and reply.
        guard: repairs logits before sampling; None if none is needed.
        adaptable_base: the base on which adapters can be exchanged; None if they cannot.
        after_reply: called after a reply; None for nothing.
        mapped_bytes: bytes of weights that are mapped from files and take no memory of their own.
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
        """The context window in tokens, prompt and reply together."""
        return self.summary.context_limit
