"""GPT-2's decode step, without what transformers does around it for each token.

In small models that is half of the time. The modules are the model's own, adapters included, and
the arithmetic is that of ``GPT2LMHeadModel``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import GPT2LMHeadModel
from transformers.cache_utils import Cache

from chatui.engine.cache import can_crop


@dataclass(frozen=True)
class _Gpt2Block:
    """The modules of a block, looked up once."""

    first_norm: Any
    attention_in: Any
    attention_out: Any
    second_norm: Any
    inner: Any
    activation: Any
    outer: Any


class Gpt2Step:
    """Reads one token of a single sequence.

    Args:
        model: a GPT-2 for which :meth:`fits` holds, with its adapters on.
    """

    def __init__(self, model: Any) -> None:
        body = model.transformer
        self._tokens = body.wte
        self._positions = body.wpe
        self._blocks = [
            _Gpt2Block(
                block.ln_1, block.attn.c_attn, block.attn.c_proj, block.ln_2,
                block.mlp.c_fc, block.mlp.act, block.mlp.c_proj,
            )
            for block in body.h
        ]  # fmt: skip
        self._last_norm = body.ln_f
        self._head = model.lm_head
        self._heads = model.config.n_head
        self._width = model.config.n_embd // self._heads
        self._scaling = body.h[0].attn.scaling

    @staticmethod
    def fits(model: Any, cache: Cache) -> bool:
        """Whether ``model`` is a plain GPT-2 on one device whose cache is ours."""
        if type(model) is not GPT2LMHeadModel or hasattr(model, "hf_device_map"):
            return False
        config = model.config
        unusual = (
            config.add_cross_attention,
            config.reorder_and_upcast_attn,
            config.scale_attn_by_inverse_layer_idx,
            config._attn_implementation != "sdpa",
        )
        return not any(unusual) and can_crop(cache)

    def __call__(self, token: int, cache: Cache) -> Tensor:
        """The logits after ``token``, [vocabulary], in the model's dtype."""
        place = cache.layers[0].get_seq_length()
        states = functional.embedding(
            torch.tensor([token], device=self._tokens.weight.device), self._tokens.weight
        )
        states = states + self._positions.weight[place]
        shape = (3, 1, self._heads, 1, self._width)
        for block, layer in zip(self._blocks, cache.layers, strict=True):
            query, key, value = block.attention_in(block.first_norm(states)).view(shape).unbind()
            keys, values = layer.update(key, value)
            seen = functional.scaled_dot_product_attention(query, keys, values, scale=self._scaling)
            states = block.attention_out(seen.view(1, -1)) + states
            inner = block.activation(block.inner(block.second_norm(states)))
            states = states + block.outer(inner)
        logits: Tensor = self._head(self._last_norm(states))[0]
        return logits
