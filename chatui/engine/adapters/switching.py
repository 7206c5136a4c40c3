"""Other adapters on a base that is loaded already."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from chatui.engine.adapters.applied import AppliedAdapters
from chatui.engine.weights import TensorEntry
from chatui.messages import ModelSpec

if TYPE_CHECKING:
    from chatui.engine.loading import LoadPlan

FileVersions: TypeAlias = frozenset[tuple[Path, int, int]]
"""Files with their times of change in nanoseconds and their sizes in bytes."""


@dataclass(frozen=True)
class AdaptableBase:
    """What a loaded model stands on.

    Attributes:
        plan: that was carried out.
        model: the network.
        adapted: what is on it.
    """

    plan: LoadPlan
    model: Any
    adapted: AppliedAdapters

    def can_switch_to(self, plan: LoadPlan) -> bool:
        """Whether ``plan`` is for the same base, which is as it was."""
        unchanged = not self.adapted.merged and not plan.spec.merge_adapters
        same = base_spec(plan.spec) == base_spec(self.plan.spec)
        return unchanged and same and plan.versions == self.plan.versions


def base_spec(spec: ModelSpec) -> ModelSpec:
    """The part of a spec that says which base is loaded, where and in which dtype."""
    blank = ModelSpec(name="", path="")
    kept = ("path", "backend", "family", "delta", "dtype", "weights", "device", "device_map")
    return replace(blank, **{name: getattr(spec, name) for name in kept})


def file_versions(entries: Iterable[TensorEntry], *files: Path) -> FileVersions:
    """The versions of the files that hold ``entries``, and of ``files``."""
    stats = {file: file.stat() for file in {*(entry.file for entry in entries), *files}}
    return frozenset((file, stat.st_mtime_ns, stat.st_size) for file, stat in stats.items())


def tokenizer_folder(spec: ModelSpec, brought: Path | None, folder: Path) -> Path:
    """Where the tokenizer is: the adapters', the spec's, the base's, whichever is first.

    A tokenizer of the spec that came with an adapter goes with it when another is put on.

    Args:
        spec: with its adapters.
        brought: the folder of the adapters' tokenizer; None for none.
        folder: the base's.
    """
    if brought is not None:
        return brought
    if spec.tokenizer is None:
        return folder
    named = Path(spec.tokenizer)
    in_use = any(Path(adapter.path) == named for adapter in spec.adapters)
    left_behind = (named / "adapter_config.json").is_file() and not in_use
    return folder if left_behind else named
