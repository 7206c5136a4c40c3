"""Causal language models: read a prompt, then one token after another."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from chatui.engine.architectures.decoder.decoder import Decoder
from chatui.engine.architectures.decoder.transformers_decoder import build_decoder
from chatui.engine.architectures.decoder.transformers_step import TransformersStep, can_be_captured
from chatui.engine.cache import RecomputingCache, can_crop, has_recurrent_states, new_cache
from chatui.engine.quantised import parameter_count, uses_row_sums

PREFILL_CHUNK = 512
"""The most tokens of a prompt that are read at once."""
_LEAST_AT_ONCE = 32
_WORK_AT_ONCE = 60e9
_NOISE = 0.1
"""Share of the logits' spread that 16-bit numbers may differ by."""
_WITHOUT_CACHE = ("cpmant", "minimax", "xlstm")
"""Model types with caches of their own kind, or a prompt of their own in front of each read."""


def prefill_chunk(parameters: int, device: torch.device) -> int:
    """Tokens of a prompt that are read at once; a stop takes effect after so many.

    On a CPU about 60 GFLOP, at 2 a parameter and token: some tenths of a second on a small
    machine. A fixed number for a model, so that a seed gives the same text again.
    """
    if device.type != "cpu":
        return PREFILL_CHUNK
    tokens = int(_WORK_AT_ONCE / (2 * max(1, parameters))) // _LEAST_AT_ONCE * _LEAST_AT_ONCE
    return min(PREFILL_CHUNK, max(_LEAST_AT_ONCE, tokens))


class _Stopped(Exception):
    """Nobody waits any more for what is being read."""


class CausalNetwork:
    """Any decoder of transformers whose tokens see only what stands before them.

    The LLaMA line, GPT-2, BLOOM and MOSS go through a decoder of our own, all others through
    transformers, on a GPU in a captured graph if they can. For the methods, see
    :class:`chatui.engine.model.Network`.

    Args:
        model: a ``PreTrainedModel`` with a language-model head, in evaluation mode.
        window: tokens that it is to read at most; its cache takes no room for more.

    Attributes:
        chunk: tokens of a prompt that are read at once, if it can be read in pieces.
        decoder: what reads over a cache of fixed size; None if transformers does it on its own.
        benefits_from_drafts: whether reading a few tokens at once is so much cheaper than one by
            one that drafts pay off: measured on CPUs with float32 weights and FBGEMM's 8 bits.
    """

    def __init__(self, model: Any, window: int) -> None:
        self.model = model
        self._window = window
        self._device = model.get_input_embeddings().weight.device
        accepted = inspect.signature(model.forward).parameters
        self._keeps_logits = "logits_to_keep" in accepted
        self._keeps = "cache" in accepted and model.config.model_type not in _WITHOUT_CACHE
        self.chunk = prefill_chunk(parameter_count(model), self._device)
        self.decoder: Decoder | TransformersStep | None = build_decoder(model, window)
        if self.decoder is None and self._device.type == "cuda" and can_be_captured(model, window):
            self.decoder = TransformersStep(model)
        quick = (
            self._device.type == "cpu" and model.dtype == torch.float32 and not uses_row_sums(model)
        )
        self.benefits_from_drafts = quick and isinstance(self.decoder, Decoder)
        self.reuses_prefix = self.decoder is not None or can_crop(self.new_cache())
        self._at_once = self.decoder is None and not (self._keeps and self._reads_in_pieces())

    def new_cache(self) -> Any:
        if self.decoder is not None:
            return self.decoder.new_cache(self._window)
        if not self._keeps:
            return RecomputingCache()
        return new_cache(self.model.config, self._window)

    @torch.inference_mode()
    def prefill(
        self, ids: Sequence[int], cache: Any, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        if self._at_once:
            return self._read_at_once(ids[cache.get_seq_length() :], cache, stop_wanted)
        logits = None
        for start in range(cache.get_seq_length(), len(ids), self.chunk):
            if stop_wanted():
                return None
            logits = self._forward(ids[start : start + self.chunk], cache)[-1]
        return logits

    def _read_at_once(
        self, ids: Sequence[int], cache: Any, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        """See :meth:`prefill`; a stop takes effect between two layers."""

        def look(*_: object) -> None:
            if stop_wanted():
                raise _Stopped

        lists = (part for part in self.model.modules() if isinstance(part, nn.ModuleList))
        hooks = [layer.register_forward_pre_hook(look) for layer in max(lists, key=len, default=())]
        try:
            return self._forward(ids, cache)[-1]
        except _Stopped:
            return None
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def accepts_device_token(self) -> bool:
        """Whether ``step`` takes a token that only the device knows, int64 ``[]``, too."""
        return self.decoder is not None and self.decoder.windowed

    @torch.inference_mode()
    def step(self, token: int | Tensor, cache: Any) -> Tensor:
        return self._forward((token,), cache)[-1]

    @torch.inference_mode()
    def read_reply(self, ids: Sequence[int], cache: Any) -> Tensor:
        """Read more tokens at once; returns the logits after each, ``[len(ids), vocabulary]``."""
        return self._forward(ids, cache, last=len(ids))

    def _forward(self, ids: Sequence[int | Tensor], cache: Any, last: int = 1) -> Tensor:
        """The logits after each of the ``last`` tokens of ``ids``."""
        if self.decoder is not None:
            if last == 1:
                return self.decoder.read(ids, cache).float()[None]
            return self.decoder.read_all(ids, cache, last).float()
        told = {"logits_to_keep": last} if self._keeps_logits else {}
        output = cache.forward(self.model, torch.tensor([ids], device=self._device), **told)
        logits: Tensor = output.logits[0, -last:].float()
        return logits

    @torch.inference_mode()
    def _reads_in_pieces(self) -> bool:
        """Whether tokens read in two pieces give the logits of all at once.

        Some layers of transformers (Mamba's) begin their state anew with each piece.
        """
        if not has_recurrent_states(self.new_cache()):
            return True
        ids, cache = range(8), self.new_cache()
        self._forward(ids[:4], cache)
        pieces, at_once = self._forward(ids[4:], cache), self._forward(ids, self.new_cache())
        return bool((pieces - at_once).abs().max() < _NOISE * at_once.std())

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        return (tuple(range(length)),)
