"""Tests whether other adapters can be applied to a base without loading it again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from chatui.catalog.model_files import ADAPTER_CONFIG
from chatui.engine.adapters.applied import AppliedAdapters
from chatui.engine.weights import TensorEntry
from chatui.messages import ModelSpec

if TYPE_CHECKING:
    from chatui.engine.loading import LoadPlan

FileVersions: TypeAlias = frozenset[tuple[Path, int, int]]
"""Files with their modification times in nanoseconds and their sizes in bytes."""

_BASE = ("path", "backend", "family", "delta", "dtype", "weights", "device", "device_map")
"""The fields of a spec that determine how the base is loaded."""


@dataclass(frozen=True)
class AdaptableBase:
    """A loaded base with its present adapters.

    Attributes:
        plan: the plan it was loaded by.
        model: the network.
        adapted: the adapters applied to it.
    """

    plan: LoadPlan
    model: Any
    adapted: AppliedAdapters

    def can_switch_to(self, plan: LoadPlan) -> bool:
        """True if ``plan`` is for the same base with the same files, and nothing was merged."""
        unchanged = not self.adapted.merged and not plan.spec.merge_adapters
        same = all(getattr(plan.spec, name) == getattr(self.plan.spec, name) for name in _BASE)
        return unchanged and same and plan.versions == self.plan.versions


def file_versions(entries: Iterable[TensorEntry], *files: Path) -> FileVersions:
    """Return the versions of the files with ``entries``, and of ``files``."""
    stats = {file: file.stat() for file in {*(entry.file for entry in entries), *files}}
    return frozenset((file, stat.st_mtime_ns, stat.st_size) for file, stat in stats.items())


def tokenizer_folder(spec: ModelSpec, from_adapters: Path | None, folder: Path) -> Path:
    """Return the tokenizer's folder: the adapters', else the spec's, else the base's.

    The spec's is ignored if it is the folder of an adapter that is no longer applied.

    Args:
        spec: the spec, with its adapters.
        from_adapters: folder of the adapters' tokenizer; None for none.
        folder: folder of the base.
    """
    if from_adapters is not None:
        return from_adapters
    if spec.tokenizer is None:
        return folder
    given = Path(spec.tokenizer)
    is_applied = any(Path(adapter.path) == given for adapter in spec.adapters)
    is_removed_adapter = (given / ADAPTER_CONFIG).is_file() and not is_applied
    return folder if is_removed_adapter else given
