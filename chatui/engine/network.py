"""Causal language models of transformers as networks for the decode loop."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from chatui.engine.architectures.decoder.decoder import Decoder, Stopped
from chatui.engine.architectures.decoder.transformers_decoder import build_decoder
from chatui.engine.architectures.decoder.transformers_step import TransformersStep, can_be_captured
from chatui.engine.cache import RecomputingCache, can_crop, has_recurrent_states, new_cache
from chatui.engine.quantised import parameter_count, uses_row_sums

PREFILL_CHUNK = 512
"""Maximum tokens of a prompt read at once."""
_LEAST_CHUNK = 32
_CHUNK_FLOP = 60e9
_NOISE = 0.1
"""Largest difference of logits by 16-bit rounding, as a share of their standard deviation."""
_WITHOUT_CACHE = ("cpmant", "minimax", "xlstm")
"""Model types with incompatible caches, or with a prefix added to every input."""


def prefill_chunk(parameters: int, device: torch.device) -> int:
    """Return the number of prompt tokens read at once.

    On a CPU a chunk is about 60 GFLOP, at 2 FLOP per parameter and token: some tenths of a second
    on a small machine. It depends on the model alone, so that a seed always gives the same text.
    """
    if device.type != "cpu":
        return PREFILL_CHUNK
    tokens = int(_CHUNK_FLOP / (2 * max(1, parameters))) // _LEAST_CHUNK * _LEAST_CHUNK
    return min(PREFILL_CHUNK, max(_LEAST_CHUNK, tokens))


class CausalNetwork:
    """Any transformers model with causal attention.

    LLaMA and its relatives, GPT-2, BLOOM and MOSS use chatui's decoder; all others use
    transformers' forward, on a GPU in a captured CUDA graph if possible. For the methods, see
    :class:`chatui.engine.model.Network`.

    Args:
        model: a ``PreTrainedModel`` with a language-model head, in evaluation mode.
        window: maximum length of a sequence in tokens, which limits the cache.

    Attributes:
        chunk: prompt tokens read at once, unless the prompt must be read whole.
        decoder: decoder over a cache of fixed size; None to use transformers' forward.
        benefits_from_drafts: whether reading a few tokens at once is so much cheaper than one by
            one that drafts pay off: measured on CPUs with float32 weights and FBGEMM's 8 bits.
    """

    def __init__(self, model: Any, window: int) -> None:
        self.model = model
        self._window = window
        self._device = model.get_input_embeddings().weight.device
        accepted = inspect.signature(model.forward).parameters
        self._limits_logits = "logits_to_keep" in accepted
        self._has_cache = "cache" in accepted and model.config.model_type not in _WITHOUT_CACHE
        self.chunk = prefill_chunk(parameter_count(model), self._device)
        self.decoder: Decoder | TransformersStep | None = build_decoder(model, window)
        if self.decoder is None and self._device.type == "cuda" and can_be_captured(model, window):
            self.decoder = TransformersStep(model)
        self.benefits_from_drafts = (
            isinstance(self.decoder, Decoder)
            and self._device.type == "cpu"
            and model.dtype == torch.float32
            and not uses_row_sums(model)
        )
        self.reuses_prefix = self.decoder is not None or can_crop(self.new_cache())
        self._reads_whole = self.decoder is None and not (self._has_cache and self._allows_chunks())

    def new_cache(self) -> Any:
        if self.decoder is not None:
            return self.decoder.new_cache(self._window)
        if not self._has_cache:
            return RecomputingCache()
        return new_cache(self.model.config, self._window)

    @torch.inference_mode()
    def prefill(
        self, ids: Sequence[int], cache: Any, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        chunk = len(ids) if self._reads_whole else self.chunk
        logits = None
        with suppress(Stopped), self._stopped_by(stop_wanted):
            for start in range(cache.get_seq_length(), len(ids), chunk):
                if stop_wanted():
                    return None
                logits = self._forward(ids[start : start + chunk], cache)[-1]
            return logits
        return None

    @contextmanager
    def _stopped_by(self, stop_wanted: Callable[[], bool]) -> Iterator[None]:
        """Let a stop raise ``Stopped`` between two layers, if the cache stays usable."""

        def check(*_: object) -> None:
            if stop_wanted():
                raise Stopped

        with ExitStack() as stack:
            if isinstance(self.decoder, Decoder):
                stack.enter_context(self.decoder.stopped_by(stop_wanted))
            elif self._reads_whole:
                stack.callback(register_module_forward_pre_hook(check).remove)
            yield

    @property
    def accepts_device_token(self) -> bool:
        """True if ``step`` also accepts a token as a tensor on the device, int64 ``[]``."""
        return self.decoder is not None and self.decoder.windowed

    @torch.inference_mode()
    def step(self, token: int | Tensor, cache: Any) -> Tensor:
        return self._forward((token,), cache)[-1]

    @torch.inference_mode()
    def read_reply(self, ids: Sequence[int], cache: Any) -> Tensor:
        """Read several tokens at once; return the logits after each, ``[len(ids), vocabulary]``."""
        return self._forward(ids, cache, last=len(ids))

    def _forward(self, ids: Sequence[int | Tensor], cache: Any, last: int = 1) -> Tensor:
        """Return the logits after the ``last`` tokens of ``ids``, ``[last, vocabulary]``."""
        if self.decoder is not None:
            if last == 1:
                return self.decoder.read(ids, cache).float()[None]
            return self.decoder.read_all(ids, cache, last).float()
        options = {"logits_to_keep": last} if self._limits_logits else {}
        output = cache.forward(self.model, torch.tensor([ids], device=self._device), **options)
        logits: Tensor = output.logits[0, -last:].float()
        return logits

    @torch.inference_mode()
    def _allows_chunks(self) -> bool:
        """True if two chunks give the same logits as one forward pass.

        Some recurrent layers of transformers, such as Mamba's, reset their state for each chunk.
        """
        if not has_recurrent_states(self.new_cache()):
            return True
        ids, cache = range(8), self.new_cache()
        self._forward(ids[:4], cache)
        chunked, whole = self._forward(ids[4:], cache), self._forward(ids, self.new_cache())
        return bool((chunked - whole).abs().max() < _NOISE * whole.std())

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        return (tuple(range(length)),)
