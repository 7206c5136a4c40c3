"""The two rows of positions and the attention mask of a ChatGLM-6B prompt.

A prompt ends with [gMASK] and <sop>. Attention is bidirectional among the tokens before <sop>, and
causal for <sop> and the generated tokens. Row 0 of the positions counts the tokens before <sop> and
then stays at [gMASK]'s position; row 1 is 0 before <sop> and then counts 1, 2, 3, … (GLM,
arXiv:2103.10360, section 2.2, and the model's own 2023 code).
"""

from __future__ import annotations

import torch
from torch import Tensor

from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig


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
