"""Low-rank pairs: from what a file holds to one product ``B A`` for each module (arXiv:2106.09685).

A pair adds ``scaling · B A x`` to a module's output, ``A [rank, in]``, ``B [out, rank]``, with
scaling alpha / rank, or alpha / √rank (rank-stabilised, arXiv:2312.03732).

peft 0.2 and loralib keep the query, key and value of a joint linear apart: only some of the three
have a pair, their A's are stacked, ``[rank · n, in]``, and B is a convolution's grouped kernel,
``[out · n / 3, rank, 1]``. chatglm-lora.pt of ChatGLM-Tuning is such a file.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import Tensor

from chatui.engine.adapters.files import AdapterFiles, LoraConfig
from chatui.engine.weights import TensorEntry

_CHATGLM_ALPHA = 32.0
"""lora_alpha of ChatGLM-Tuning's finetune.py, which chatglm-lora.pt comes from."""
_USUAL_ALPHA = 16.0
"""lora_alpha of alpaca-lora's finetune.py."""
_QUERY_AND_VALUE = (True, False, True)
"""What peft 0.2 adapts of a joint linear unless told otherwise."""


@dataclass(frozen=True)
class LoraPair:
    """What one adapter adds to one module.

    Attributes:
        module: its name in the base.
        down, up: the entries of A and B.
        bias: the entry of B's bias; None for none.
        scaling: factor on B, the adapter's scale included.
        parts: which of equal parts of the output have a pair of their own; empty for the usual
            form, if there is one pair for all of it.
        of_embedding: the module is an embedding: A is ``[rank, vocabulary]``, B ``[width, rank]``.
    """

    module: str
    down: TensorEntry
    up: TensorEntry
    bias: TensorEntry | None
    scaling: float
    parts: tuple[bool, ...] = ()
    of_embedding: bool = False

    @property
    def in_features(self) -> int:
        return self.down.shape[-1]

    @property
    def out_features(self) -> int:
        rows = self.up.shape[0]
        return rows * len(self.parts) // sum(self.parts) if self.parts else rows


def expand_grouped(up: Tensor, parts: tuple[bool, ...]) -> Tensor:
    """B of all the output, ``[out, rank · n]``, from the grouped ``[out · n / 3, rank(, 1)]``."""
    count = sum(parts)
    blocks = up.reshape(count, up.shape[0] // count, -1)
    rows, rank = blocks.shape[1:]
    full = up.new_zeros(len(parts), rows, count, rank)
    full[[place for place, has in enumerate(parts) if has], :, torch.arange(count)] = blocks
    return full.reshape(len(parts) * rows, count * rank)


def grouped_parts(
    down: TensorEntry, up: TensorEntry, config: LoraConfig | None
) -> tuple[bool, ...]:
    """The parts of a pair in the grouped form; empty for the usual form."""
    columns = up.shape[1] if len(up.shape) > 1 else 0
    if len(up.shape) == 2 and columns == down.shape[0]:
        return ()
    named = config.enable_lora if config else None
    parts = tuple(named) if named else _QUERY_AND_VALUE
    return parts if columns * sum(parts) == down.shape[0] else ()


def scaling_of(files: AdapterFiles, module: str, rank: int, family: str) -> float:
    """The factor on a pair, without the adapter's own scale."""
    alpha = stated_alpha(files)
    config = files.config or LoraConfig()
    for pattern, value in (config.alpha_pattern or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            alpha = value
            break
    if alpha is None:
        alpha = default_alpha(family)
    return alpha / (math.sqrt(rank) if config.use_rslora else rank)


def stated_alpha(files: AdapterFiles) -> float | None:
    """What the files tell, else the user."""
    told = files.config.lora_alpha if files.config else None
    return files.adapter.alpha if told is None else told


def default_alpha(family: str) -> float:
    """What is taken where neither the files nor the user tell."""
    return _CHATGLM_ALPHA if family == "chatglm" else _USUAL_ALPHA
