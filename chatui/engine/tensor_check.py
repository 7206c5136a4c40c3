"""Checks that the tensors of a model's files match its architecture, by name and shape."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say

_LARGEST_GAP = 0.5
"""Largest share of the network that the files may lack, since some use older tensor names."""


def check_matching(network: Any, entries: Iterable[TensorEntry], folder: Path) -> None:
    """Check the headers of the files against the architecture before any weight is read.

    transformers' loader allocates missing tensors first, however large the config makes them.

    Args:
        network: the architecture on the meta device.
        entries: the tensors of the files.
        folder: the model's folder, for the error.

    Raises:
        ChatuiError: more than half of the network's elements are missing from the files.
    """
    sizes, merged_into = _sizes_in_network(network, entries)
    total = 0
    lacking: dict[str, int] = {}
    for name, parameter in network.named_parameters():
        total += parameter.numel()
        counted = merged_into.get(name, name)
        lacking.setdefault(counted, -sizes.get(counted, 0))
        lacking[counted] += parameter.numel()
    gap = sum(count for count in lacking.values() if count > 0)
    if gap > total * _LARGEST_GAP:
        first = next(name for name, count in lacking.items() if count > 0)
        shape = list(network.get_parameter(first).shape)
        raise ChatuiError(say("engine.config_differs", key=first, expected=shape, folder=folder))


def _sizes_in_network(
    network: Any, entries: Iterable[TensorEntry]
) -> tuple[dict[str, int], dict[str, str]]:
    """Count the files' elements by the network's names, as transformers' loader renames them.

    For instance, the experts of a layer are one tensor each in the files and one tensor in the
    network.

    Returns:
        elements by name; and for each network tensor cut out of a larger one in the files, the
        name under which the elements of the larger one are counted.
    """
    transforms = get_model_conversion_mapping(network)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if isinstance(one, WeightConverter)]
    by_pattern = {pattern: one for one in converters for pattern in one.source_patterns}
    known, prefix = network.state_dict(), network.base_model_prefix
    sizes: dict[str, int] = {}
    merged_into: dict[str, str] = {}
    for entry in entries:
        name, pattern = rename_source_key(entry.key, renamings, converters, prefix, known)
        if name not in known:
            name, pattern = rename_source_key(entry.key, [], [], prefix, known)
        sizes[name] = sizes.get(name, 0) + math.prod(entry.shape)
        targets: list[str] = [] if pattern is None else by_pattern[pattern].target_patterns
        merged_into |= {name.replace(targets[0], target): name for target in targets[1:]}
    return sizes, merged_into


def check_loaded(info: Mapping[str, Any], folder: Path) -> None:
    """Check the loading info of transformers' ``from_pretrained``.

    Raises:
        ChatuiError: a tensor has the wrong shape, or is missing from the files in ``folder``.
    """
    for key, found, expected in sorted(info["mismatched_keys"]):
        raise ChatuiError(
            say("engine.wrong_shape", key=key, found=list(found), expected=list(expected))
        )
    for key in sorted(info["missing_keys"]):
        raise ChatuiError(say("engine.tensor_missing", key=key, folder=folder))
