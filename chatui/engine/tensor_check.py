"""Whether the tensors of the files are those of the config's architecture, by names and shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

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
    sizes, leaders = _sizes_in_network(network, entries)
    total = gap = 0
    lacking: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        total += parameter.numel()
        leader = leaders.get(name, name)
        lacking.setdefault(leader, -sizes.get(leader, 0))
        lacking[leader] += parameter.numel()
    gap = sum(count for count in lacking.values() if count > 0)
    if gap > total * _LARGEST_GAP:
        first = next(name for name, count in lacking.items() if count > 0)
        shape = list(network.get_parameter(first).shape)
        raise ChatuiError(say("engine.config_differs", key=first, expected=shape, folder=folder))


def _sizes_in_network(
    network: Any, entries: Iterable[TensorEntry]
) -> tuple[dict[str, int], dict[str, str]]:
    """Elements in the files under the network's names, as transformers' loader renames them.

    The experts of a layer, for instance, are a tensor each in the files and one in the network.

    Returns:
        elements by name; and for a tensor of the network that is cut out of a larger one in the
        files, the name that has the elements of all of them.
    """
    transforms = get_model_conversion_mapping(network)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
    known, prefix = network.state_dict(), network.base_model_prefix
    sizes: dict[str, int] = {}
    leaders: dict[str, str] = {}
    for entry in entries:
        name, pattern = rename_source_key(entry.key, renamings, converters, prefix, known)
        if name not in known:
            name, pattern = rename_source_key(entry.key, [], [], prefix, known)
        sizes[name] = sizes.get(name, 0) + math.prod(entry.shape)
        targets: list[str] = [] if pattern is None else by_pattern[pattern].target_patterns
        leaders |= {name.replace(targets[0], target): name for target in targets[1:]}
    return sizes, leaders
