"""The three layouts of a training example, as pure functions on token ids.

They are those of the article on fine-tuning that chatui follows: ChatGLM-6B as in
THUDM/ChatGLM-6B's ptuning/main.py, Chinese-LLaMA with the Alpaca template as in
ymcui/Chinese-LLaMA-Alpaca, BLOOMZ and GPT as in peft's examples of causal language modelling.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

IGNORED = -100
"""Label of a position that is not learned, ignored by PyTorch's cross entropy."""


class TrainingExample(msgspec.Struct, frozen=True):
    """An example of one reply.

    Attributes:
        input_ids: token ids, padded to the length of all examples of a file.
        labels: the token ids to learn, :data:`IGNORED` elsewhere; as long as ``input_ids``.
        attention_mask: 1 for a token and 0 for padding; None for families without it.
        content: start and end of the part without padding.
        is_cut: whether prompt or reply was truncated.
    """

    input_ids: list[int]
    labels: list[int]
    attention_mask: list[int] | None
    content: tuple[int, int]
    is_cut: bool


@dataclass(frozen=True)
class ChatGLMTokens:
    """Ids of the special tokens in ChatGLM-6B's layout: [gMASK], <sop>, <eop>, <pad>."""

    gmask: int
    sop: int
    eop: int
    pad: int


def chatglm_example(
    source: list[int],
    target: list[int],
    tokens: ChatGLMTokens,
    max_source: int,
    max_target: int,
) -> TrainingExample:
    """Lay out ``source [gMASK] <sop> target <eop>``, padded right to max_source + max_target.

    Labels begin with the first <sop>; a <pad> is never a label.

    Args:
        source, target: ids without special tokens, truncated to max_source - 1 and max_target - 2.
        max_source: at least 1.
        max_target: at least 2.
    """
    ids = [*source[: max_source - 1], tokens.gmask, tokens.sop, *target[: max_target - 2]]
    ids.append(tokens.eop)
    begin = ids.index(tokens.sop)
    labels = [IGNORED] * begin + ids[begin:]
    if tokens.pad in ids:
        labels = [IGNORED if label == tokens.pad else label for label in labels]
    padding = max_source + max_target - len(ids)
    return TrainingExample(
        input_ids=ids + [tokens.pad] * padding,
        labels=labels + [IGNORED] * padding,
        attention_mask=None,
        content=(0, len(ids)),
        is_cut=len(source) >= max_source or len(target) > max_target - 2,
    )


def alpaca_example(
    source: list[int], target: list[int], pad: int, max_length: int
) -> TrainingExample:
    """Lay out ``source target``, truncated or padded right to max_length.

    Args:
        source: prompt ids, with the special tokens that begin a prompt.
        target: reply ids, with EOS at the end.
        pad: id of the padding.
    """
    ids, labels, padding, is_cut = _joined(source, target, max_length)
    return TrainingExample(
        ids + [pad] * padding, labels + [IGNORED] * padding, None, (0, len(ids)), is_cut
    )


def causal_example(
    source: list[int], target: list[int], pad: int, max_length: int
) -> TrainingExample:
    """Lay out ``source target``, truncated right or padded left to max_length.

    Args:
        source: prompt ids.
        target: reply ids, with the token that ends a reply at the end.
        pad: id of the padding.
    """
    ids, labels, padding, is_cut = _joined(source, target, max_length)
    mask = [0] * padding + [1] * len(ids)
    content = (padding, max_length)
    return TrainingExample(
        [pad] * padding + ids, [IGNORED] * padding + labels, mask, content, is_cut
    )


def _joined(
    source: list[int], target: list[int], max_length: int
) -> tuple[list[int], list[int], int, bool]:
    """Return ids and labels up to ``max_length``, the padding needed, and if they were cut."""
    length = len(source) + len(target)
    ids = (source + target)[:max_length]
    labels = ([IGNORED] * len(source) + target)[:max_length]
    return ids, labels, max_length - len(ids), length > max_length
