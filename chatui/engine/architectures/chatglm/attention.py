"""ChatGLM-6B's attention, with two rows of rotary positions and fp16 scores that cannot overflow.

A prompt ends with [gMASK] and <sop>. Attention is bidirectional among the tokens before <sop>, and
causal for <sop> and the generated tokens. Row 0 of the positions counts the tokens before <sop> and
then stays at [gMASK]'s position; row 1 is 0 before <sop> and then counts 1, 2, 3, … (GLM,
arXiv:2103.10360, section 2.2, and the model's own 2023 code).

Half of each head's dimensions is rotated by the first row of positions, half by the second
(GLM-130B, arXiv:2210.02414, and the model's own 2023 code; rotary: arXiv:2104.09864).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.cache_utils import Cache

from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
from chatui.engine.architectures.chatglm.quantisation import make_linear

ROTARY_BASE = 10000.0
MASKED_SCORE = -10000.0


class ChatGLMAttention(nn.Module):
    """Multi-head attention; one linear gives the query, key and value of each head in turn."""

    def __init__(self, config: ChatGLMConfig, layer_index: int) -> None:
        super().__init__()
        size, bits = config.hidden_size, config.quantization_bit
        self.layer_index = layer_index
        self.num_heads: int = config.num_attention_heads
        self.head_dim: int = size // config.num_attention_heads
        self.query_key_value = make_linear(size, 3 * size, bits)
        self.dense = make_linear(size, size, bits)

    def forward(
        self, states: Tensor, masked: Tensor | None, rotary: Tensor, cache: Cache | None
    ) -> Tensor:
        """Attend to the cached tokens and to the new ones.

        Args:
            states: [batch, tokens, hidden size].
            masked: bool [batch or 1, 1, tokens, keys], True hides a key; None hides none.
            rotary: from `rotary_table`, for the tokens' positions.
            cache: keys and values of the earlier tokens, to which this call adds its own.

        Returns:
            [batch, tokens, hidden size].
        """
        batch, length, _ = states.shape
        mixed = self.query_key_value(states).view(batch, length, self.num_heads, 3, self.head_dim)
        query, key = rotate(mixed[..., :2, :], rotary).transpose(1, 2).unbind(dim=3)
        value = mixed[..., 2, :].transpose(1, 2)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_index)
        if query.dtype == torch.float16:
            context = attend_in_half(query, key, value, masked, self.layer_index)
        else:
            seen = None if masked is None else ~masked
            context = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        output: Tensor = self.dense(context.transpose(1, 2).reshape(batch, length, -1))
        return output


def rotary_table(position_ids: Tensor, head_dim: int, dtype: torch.dtype) -> Tensor:
    """Return the cosines and sines for both rows of positions.

    As in the original, the frequencies are rounded to fp16. The angles are fp16 if the model runs
    in fp16, and fp32 otherwise.

    Args:
        position_ids: int64 [batch, 2, tokens].
        head_dim: size of one head; each row rotates half of it.
        dtype: dtype of the hidden states.

    Returns:
        [2 (cosine, sine), batch, tokens, 1 (heads), 1 (q, k), 2 (rows), head_dim / 2] in `dtype`.
    """
    precision = torch.float16 if dtype == torch.float16 else torch.float32
    frequencies = inverse_frequencies(head_dim // 2, position_ids.device).to(precision)
    angles = position_ids.transpose(1, 2)[..., None].to(precision) * frequencies
    angles = torch.cat((angles, angles), dim=-1)
    return torch.stack((angles.cos(), angles.sin()))[:, :, :, None, None].to(dtype)


@lru_cache
def inverse_frequencies(size: int, device: torch.device) -> Tensor:
    """Return base^(-2i/size), rounded to fp16: fp16 [size / 2]."""
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=device) / size
    frequencies: Tensor = 1.0 / ROTARY_BASE**exponents
    return frequencies.half()


def rotate(states: Tensor, rotary: Tensor) -> Tensor:
    """Rotate each half of the last dimension by its own row of positions.

    Args:
        states: [batch, tokens, heads, 2 (q, k), head_dim].
        rotary: from `rotary_table`.

    Returns:
        As `states`.
    """
    halves = states.reshape(*states.shape[:-1], 2, -1)
    first, second = halves.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return (halves * rotary[0] + turned * rotary[1]).flatten(-2)


def attend_in_half(
    query: Tensor, key: Tensor, value: Tensor, masked: Tensor | None, layer_index: int
) -> Tensor:
    """Attend in fp16 without overflow.

    The query is divided by the layer's number before the product; the scores are multiplied by it
    in fp32 before the softmax.

    Args:
        query: fp16 [batch, heads, tokens, head_dim].
        key: fp16 [batch, heads, keys, head_dim], as `value`.
        value: see `key`.
        masked: bool [batch or 1, 1, tokens, keys], True hides a key; None hides none.
        layer_index: counted from 0.

    Returns:
        fp16 [batch, heads, tokens, head_dim].
    """
    layer = float(layer_index + 1)
    scores = (query / (query.shape[-1] ** 0.5 * layer)) @ key.transpose(-1, -2)
    if masked is not None:
        scores = scores.masked_fill(masked, MASKED_SCORE)
    weights = torch.softmax(scores.float() * layer, dim=-1).to(value.dtype)
    return weights @ value


def prompt_position_ids(input_ids: Tensor, config: ChatGLMConfig) -> Tensor:
    """Return the positions of a prompt, optionally with its reply.

    Args:
        input_ids: int64 [batch, tokens], each row with a <sop> and, before it, [gMASK] or [MASK].
        config: supplies the ids of the special tokens.

    Returns:
        int64 [batch, 2, tokens].

    Raises:
        ValueError: a row has no <sop>, or no [gMASK] or [MASK].
    """
    length = input_ids.shape[1]
    index = torch.arange(length, device=input_ids.device)
    sop = context_lengths(input_ids, config)
    mask = _first_index(input_ids, config.gmask_token_id)
    mask = torch.where(mask < length, mask, _first_index(input_ids, config.mask_token_id))
    if bool((mask == length).any()):
        raise ValueError("a ChatGLM prompt ends with [gMASK] and <sop>, and this has no [gMASK]")
    first = torch.where(index >= sop[:, None], mask[:, None], index)
    second = (index - sop[:, None] + 1).clamp(min=0)
    return torch.stack((first, second), dim=1)


def next_position_ids(position_ids: Tensor) -> Tensor:
    """Return the positions of the next token, for one decode step.

    Args:
        position_ids: int64 [batch, 2, tokens], from `prompt_position_ids` or this function.

    Returns:
        int64 [batch, 2, 1]: row 0 unchanged, row 1 increased by 1.
    """
    first, second = position_ids[..., -1:].chunk(2, dim=1)
    return torch.cat((first, second + 1), dim=1)


def prompt_mask(input_ids: Tensor, config: ChatGLMConfig) -> Tensor:
    """Return the attention mask of a prompt, optionally with its reply.

    A decode step needs no mask.

    Args:
        input_ids: int64 [batch, tokens].
        config: supplies the id of <sop>.

    Returns:
        bool [batch, 1, tokens (queries), tokens (keys)], True hides a key.

    Raises:
        ValueError: a row has no <sop>.
    """
    index = torch.arange(input_ids.shape[1], device=input_ids.device)
    later = index[None, :] > index[:, None]
    beyond_context = index >= context_lengths(input_ids, config)[:, None]
    return (later & beyond_context[:, None, :])[:, None]


def context_lengths(input_ids: Tensor, config: ChatGLMConfig) -> Tensor:
    """Return the index of each row's first <sop>: int64 [batch].

    Raises:
        ValueError: a row has no <sop>.
    """
    sop = _first_index(input_ids, config.bos_token_id)
    if bool((sop == input_ids.shape[1]).any()):
        raise ValueError("a ChatGLM prompt ends with [gMASK] and <sop>, and this has no <sop>")
    return sop


def _first_index(input_ids: Tensor, token_id: int | None) -> Tensor:
    """Return each row's first index of `token_id`, or the row's length: int64 [batch]."""
    matches = input_ids == torch.tensor(token_id, device=input_ids.device)
    length = input_ids.shape[1]
    return torch.where(matches.any(dim=1), matches.int().argmax(dim=1), length)
