"""A preview of one example, in the format of the article on fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chatui.engine.examples.example_encoder import ExampleEncoder, TextPair
from chatui.engine.examples.training_example import IGNORED


@dataclass(frozen=True)
class LabelledToken:
    """A token of an example with its id, its spelling in the vocabulary and its label."""

    id: int
    token: str
    label: int

    @property
    def is_learned(self) -> bool:
        return self.label != IGNORED


@dataclass(frozen=True)
class ExamplePreview:
    """The preview of an example.

    Attributes:
        lines: ids, tokens and text of prompt and reply before truncation; then ids, tokens, text
            and labels of the example without padding, and the labels with padding.
        tokens: the example without padding.
    """

    lines: tuple[str, ...]
    tokens: tuple[LabelledToken, ...]


def make_preview(encoder: ExampleEncoder, pair: TextPair) -> ExamplePreview:
    """Return the preview of a pair's example."""
    tokenizer = encoder.tokenizer
    ((source, target),) = encoder.encode_pairs([pair])
    example = encoder.make_example((source, target))
    begin, end = example.content
    ids, labels = example.input_ids[begin:end], example.labels[begin:end]
    tokens = _tokens(tokenizer, ids)
    return ExamplePreview(
        lines=(
            *_description(tokenizer, source, "input_ids", "input_tokens", "inputs"),
            *_description(tokenizer, target, "label_ids", "label_tokens", "labels"),
            str(ids),
            str(tokens),
            tokenizer.decode(ids),
            str(labels),
            str(example.labels),
        ),
        tokens=tuple(map(LabelledToken, ids, tokens, labels)),
    )


def _description(tokenizer: Any, ids: Sequence[int], *names: str) -> Iterator[str]:
    """Return the three lines of the article's print_dataset_example."""
    shown = (list(ids), _tokens(tokenizer, ids), tokenizer.decode(list(ids)))
    return (f"{name} {value}" for name, value in zip(names, shown, strict=True))


def _tokens(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    return [str(token) for token in tokenizer.convert_ids_to_tokens(list(ids))]
