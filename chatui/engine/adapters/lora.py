"""LoRA pairs (arXiv:2106.09685) and their scaling.

A pair adds ``scaling · B A x`` to a module's output, with ``A [rank, in]``, ``B [out, rank]`` and a
scaling of alpha / rank, or alpha / √rank (rank-stabilised, arXiv:2312.03732).

In the grouped form of peft 0.2 and loralib, some of the query, key and value of a fused linear
layer
have separate pairs: A stacks them, ``[rank · n, in]``, and B is the kernel of a grouped
convolution, ``[out · n / 3, rank, 1]``. chatglm-lora.pt of ChatGLM-Tuning has this form.
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
"""lora_alpha of ChatGLM-Tuning's finetune.py, which made chatglm-lora.pt."""
_USUAL_ALPHA = 16.0
"""lora_alpha of alpaca-lora's finetune.py."""
_QUERY_AND_VALUE = (True, False, True)
"""The parts of a fused linear layer that peft 0.2 adapts by default."""


@dataclass(frozen=True)
class LoraPair:
    """The LoRA pair of one adapter for one module.

    Attributes:
        module: the module's name in the base.
        down, up: the entries of A and B.
        bias: the entry of B's bias; None for none.
        scaling: factor on B, including the adapter's scale.
        parts: for the grouped form, which of the output's equal parts have a pair; else empty.
        of_embedding: whether the module is an embedding, with A ``[rank, vocabulary]`` and B
            ``[width, rank]``.
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
    """Convert the grouped B ``[out · n / 3, rank(, 1)]`` to the usual form ``[out, rank · n]``."""
    count = sum(parts)
    blocks = up.reshape(count, up.shape[0] // count, -1)
    rows, rank = blocks.shape[1:]
    full = up.new_zeros(len(parts), rows, count, rank)
    full[[index for index, adapted in enumerate(parts) if adapted], :, torch.arange(count)] = blocks
    return full.reshape(len(parts) * rows, count * rank)


def grouped_parts(
    down: TensorEntry, up: TensorEntry, config: LoraConfig | None
) -> tuple[bool, ...]:
    """Return the adapted parts of a pair in the grouped form; empty for the usual form."""
    columns = up.shape[1] if len(up.shape) > 1 else 0
    if len(up.shape) == 2 and columns == down.shape[0]:
        return ()
    named = config.enable_lora if config else None
    parts = tuple(named) if named else _QUERY_AND_VALUE
    return parts if columns * sum(parts) == down.shape[0] else ()


def scaling_of(files: AdapterFiles, module: str, rank: int, family: str) -> float:
    """Return the scaling of a pair, without the adapter's scale."""
    config = files.config or LoraConfig()
    patterns = (config.alpha_pattern or {}).items()
    given = (value for key, value in patterns if re.match(rf"(.*\.)?({key})$", module))
    alpha = next(given, stated_alpha(files))
    if alpha is None:
        alpha = default_alpha(family)
    return alpha / (math.sqrt(rank) if config.use_rslora else rank)


def stated_alpha(files: AdapterFiles) -> float | None:
    """Return alpha from the adapter's config, or as given by the user; None if neither has it."""
    alpha = files.config.lora_alpha if files.config else None
    return files.adapter.alpha if alpha is None else alpha


def default_alpha(family: str) -> float:
    """Return the alpha to assume if neither the files nor the user state it."""
    return _CHATGLM_ALPHA if family == "chatglm" else _USUAL_ALPHA
