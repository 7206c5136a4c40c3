"""ChatGLM-6B as the decode loop sees it: a prompt read at once, then one token after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM
from chatui.engine.architectures.chatglm.positions import next_position_ids, prompt_position_ids
from chatui.engine.cache import new_cache


class ChatGLMNetwork:
    """Keeps count of the two rows of positions between the calls of one reply.

    A prompt is read in both directions, so it cannot be read in chunks, and its keys and values
    are of no use to a longer one.

    Args:
        model: in evaluation mode.
        window: tokens that it is to read at most; its cache takes no room for more.
    """

    reuses_prefix = False

    def __init__(self, model: ChatGLMForCausalLM, window: int) -> None:
        self.model = model
        self._window = window
        self._device = model.get_input_embeddings().weight.device
        self._positions: Tensor | None = None

    def new_cache(self) -> Cache:
        """An empty KV cache."""
        return new_cache(self.model.config, self._window)

    @torch.inference_mode()
    def prefill(
        self, ids: Sequence[int], cache: Cache, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        """Read a whole prompt, which ends with [gMASK] and <sop>, into an empty cache.

        Returns:
            logits of the next token, fp32 [vocabulary]; None if it was stopped before it began.
        """
        if stop_wanted():
            return None
        input_ids = torch.tensor([ids], device=self._device)
        self._positions = prompt_position_ids(input_ids, self.model.config)
        return self._forward(input_ids, self._positions, cache)

    @torch.inference_mode()
    def step(self, token: int, cache: Cache) -> Tensor:
        """Read one more token of the reply; see `prefill` for what it returns."""
        if self._positions is None:
            raise ValueError("a prompt has to be read first")
        self._positions = next_position_ids(self._positions)
        return self._forward(torch.tensor([[token]], device=self._device), self._positions, cache)

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        """Both rows of positions of a prompt of `length` tokens, [gMASK] and <sop> included."""
        context = length - 1
        first = (*range(context), context - 1)
        return (first, (*(0,) * context, 1))

    def _forward(self, input_ids: Tensor, positions: Tensor, cache: Cache) -> Tensor:
        output = self.model(
            input_ids, position_ids=positions, cache=cache, use_cache=True, logits_to_keep=1
        )
        logits: Tensor = output.logits[0, -1].float()
        return logits
