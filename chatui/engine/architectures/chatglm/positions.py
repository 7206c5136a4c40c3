"""The two rows of positions and the two-way mask of a ChatGLM-6B prompt.

A prompt ends with [gMASK] and <sop>. The tokens before <sop> see each other in both directions;
<sop> and what is generated are causal and see everything before them. Row 0 of the positions
counts the tokens before <sop> and then stays at [gMASK]'s place; row 1 is 0 before <sop> and
then counts 1, 2, 3, … (GLM, arXiv:2103.10360, section 2.2, and the model's own 2023 code).
"""

from __future__ import annotations

import torch
from torch import Tensor

from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig


def prompt_position_ids(input_ids: Tensor, config: ChatGLMConfig) -> Tensor:
    """The positions of a prompt, with or without a reply behind it.

    Args:
        input_ids: int64 [batch, tokens], each row with a <sop> and, before it, [gMASK] or [MASK].
        config: whose ids of the special tokens are used.

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
    """The positions of the token that follows, in one decode step.

    Args:
        position_ids: int64 [batch, 2, tokens], as `prompt_position_ids` or this gave it.

    Returns:
        int64 [batch, 2, 1]: row 0 as it was, row 1 counted on.
    """
    first, second = position_ids[..., -1:].chunk(2, dim=1)
    return torch.cat((first, second + 1), dim=1)


def prompt_mask(input_ids: Tensor, config: ChatGLMConfig) -> Tensor:
    """Who may not see whom in a prompt, with or without a reply behind it.

    Args:
        input_ids: int64 [batch, tokens].
        config: whose id of <sop> is used.

    Returns:
        bool [batch, 1, tokens (who looks), tokens (who is seen)], True means hidden. A token in
        a decode step sees everything: there the model takes None.

    Raises:
        ValueError: a row has no <sop>.
    """
    index = torch.arange(input_ids.shape[1], device=input_ids.device)
    later = index[None, :] > index[:, None]
    beyond_context = index >= context_lengths(input_ids, config)[:, None]
    return (later & beyond_context[:, None, :])[:, None]


def context_lengths(input_ids: Tensor, config: ChatGLMConfig) -> Tensor:
    """The index of each row's first <sop>: int64 [batch].

    Raises:
        ValueError: a row has no <sop>.
    """
    sop = _first_index(input_ids, config.bos_token_id)
    if bool((sop == input_ids.shape[1]).any()):
        raise ValueError("a ChatGLM prompt ends with [gMASK] and <sop>, and this has no <sop>")
    return sop


def _first_index(input_ids: Tensor, token_id: int | None) -> Tensor:
    """Each row's first index of `token_id`, or the row's length: int64 [batch]."""
    found = input_ids == torch.tensor(token_id, device=input_ids.device)
    length = input_ids.shape[1]
    return torch.where(found.any(dim=1), found.int().argmax(dim=1), length)
