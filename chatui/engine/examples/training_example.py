"""The three ways to lay out a training example, as pure functions on token ids.

They follow the article on fine-tuning that chatui grew out of, step by step: ChatGLM-6B as in
THUDM/ChatGLM-6B's ptuning/main.py, Chinese-LLaMA with the Alpaca template as in
ymcui/Chinese-LLaMA-Alpaca, BLOOMZ and GPT as in peft's examples of causal language modelling.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

IGNORED = -100
"""The label of a position that is not trained on: PyTorch's cross entropy leaves it out."""


class TrainingExample(msgspec.Struct, frozen=True):
    """What one step of training reads.

    Attributes:
        input_ids: token ids, padded to the length that all examples of a file have.
        labels: as long; a token id if the model is to write it, else :data:`IGNORED`.
        attention_mask: as long, 1 for a token and 0 for padding; None in families without one.
        content: first and last position + 1 of what is no padding.
        is_cut: whether prompt or reply was too long for it.
    """

    input_ids: list[int]
    labels: list[int]
    attention_mask: list[int] | None
    content: tuple[int, int]
    is_cut: bool


@dataclass(frozen=True)
class ChatGLMTokens:
    """The ids that ChatGLM-6B's layout needs: [gMASK], <sop>, <eop>, <pad>."""

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
    """``source [gMASK] <sop> target <eop>``, padded on the right to max_source + max_target.

    Labels begin at the first <sop>, which they hold, and a <pad> is never a label.

    Args:
        source, target: without special tokens; cut after max_source - 1 and max_target - 2.
        max_source: at least 1.
        max_target: at least 2.
    """
    input_ids = [*source[: max_source - 1], tokens.gmask, tokens.sop]
    input_ids += target[: max_target - 2]
    input_ids.append(tokens.eop)
    begin = input_ids.index(tokens.sop)
    labels = [IGNORED] * begin + input_ids[begin:]
    if tokens.pad in input_ids:
        labels = [IGNORED if label == tokens.pad else label for label in labels]
    length = len(input_ids)
    padding = max_source + max_target - length
    return TrainingExample(
        input_ids=input_ids + [tokens.pad] * padding,
        labels=labels + [IGNORED] * padding,
        attention_mask=None,
        content=(0, length),
        is_cut=len(source) >= max_source or len(target) > max_target - 2,
    )


def alpaca_example(
    source: list[int], target: list[int], pad: int, max_length: int
) -> TrainingExample:
    """``source target``, cut at max_length and padded on the right to it.

    Args:
        source: with the special tokens that begin a prompt.
        target: with EOS at its end.
        pad: the padding's id.
    """
    length = len(source) + len(target)
    padding = max_length - length
    input_ids = _joined(source, target, [pad] * padding, max_length)
    labels = _joined([IGNORED] * len(source), target, [IGNORED] * padding, max_length)
    content = (0, min(length, max_length))
    return TrainingExample(input_ids, labels, None, content, padding < 0)


def causal_example(
    source: list[int], target: list[int], pad: int, max_length: int
) -> TrainingExample:
    """``source target``, padded on the left to max_length or cut at it on the right.

    Args:
        source: the prompt.
        target: with what ends a reply (the pad token) at its end.
        pad: the padding's id.
    """
    length = len(source) + len(target)
    padding = max(0, max_length - length)
    input_ids = _joined([pad] * padding, source, target, max_length)
    labels = _joined([IGNORED] * (padding + len(source)), target, [], max_length)
    mask = [0] * padding + [1] * (max_length - padding)
    return TrainingExample(input_ids, labels, mask, (padding, max_length), length > max_length)


def _joined(first: list[int], second: list[int], third: list[int], most: int) -> list[int]:
    """Three lists as one, cut at ``most``."""
    joined = first.copy()
    joined += second
    joined += third
    del joined[most:]
    return joined
