"""Whether the tensors of the files are those of the config's architecture, by names and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say

_LARGEST_GAP = 0.5
"""Share of the network that files may lack by name: some checkpoints name things in older ways."""


def check_matching(network: Any, entries: Iterable[TensorEntry], folder: Path) -> None:
    """Refuse files that would leave most of the network without weights, before any is read.

    What a loader finds missing it first makes room for, however much the config asks for.

    Args:
        network: the architecture on the meta device.
        entries: the tensors of the files.
        folder: named in the sentence.

    Raises:
        ChatuiError: a tensor has far fewer elements than the config says, or most are missing.
    """
    expected: dict[str, Any] = dict(network.named_parameters())
    total = sum(parameter.numel() for parameter in expected.values())
    sizes = {entry.key: _elements(entry) for entry in entries}
    prefix = network.base_model_prefix + "."
    first, gap = "", 0
    for name, parameter in expected.items():
        found = _find(name, prefix, sizes)
        lacking = parameter.numel() - (found or 0)
        if lacking > 0:
            gap += lacking
            first = first or name
    if gap > total * _LARGEST_GAP:
        shape = list(expected[first].shape)
        raise ChatuiError(say("engine.config_differs", key=first, expected=shape, folder=folder))


def _find(name: str, prefix: str, sizes: Mapping[str, int]) -> int | None:
    """Elements of the tensor called ``name``, with the base model's prefix or without it."""
    for candidate in (name, name.removeprefix(prefix), prefix + name):
        if candidate in sizes:
            return sizes[candidate]
    return None


def _elements(entry: TensorEntry) -> int:
    count = 1
    for size in entry.shape:
        count *= size
    return count
