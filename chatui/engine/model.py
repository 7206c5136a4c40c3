"""A loaded model: network, codec and prompt format, and what its replies need to know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

from chatui.engine.adapters.switching import Foundation
from chatui.engine.codec import Codec
from chatui.engine.network import Network
from chatui.engine.prompt_cache import PromptCache
from chatui.messages import GenerateRequest, Loaded, ModelSpec
from chatui.prompting.format import PromptFormat

Guard: TypeAlias = Callable[[Tensor], Tensor]
"""Logits ``[vocabulary]`` -> logits: an architecture's own answer to NaN."""

AfterReply: TypeAlias = Callable[["LoadedModel", GenerateRequest, str, Callable[[], bool]], None]
"""(model, request, its reply as kept, whether to stop): work for the time until the next query."""


@dataclass
class LoadedModel:
    """Everything that generation needs.

    Attributes:
        spec: what was asked for.
        summary: what was loaded, as told to the app.
        network, codec, format: the three parts.
        eos_ids: tokens that end a reply.
        guard: repairs logits before they are looked at; None leaves them.
        prompt_cache: what the network read last.
        foundation: what other adapters can be put on; None where none can.
        after_reply: done when a reply is out; None for nothing.
    """

    spec: ModelSpec
    summary: Loaded
    network: Network
    codec: Codec
    format: PromptFormat
    eos_ids: frozenset[int]
    guard: Guard | None = None
    prompt_cache: PromptCache = field(default_factory=PromptCache)
    foundation: Foundation | None = None
    after_reply: AfterReply | None = None

    @property
    def context_limit(self) -> int:
        """Tokens, prompt and reply together."""
        return self.summary.context_limit
