"""Delete fetched models from the hubs' caches."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chatui.catalog import library
from chatui.catalog.fetching.hub import disk_error
from chatui.catalog.fetching.planning import part_of_hub
from chatui.catalog.local_models import (
    find_part,
    hugging_face_cache,
    modelscope_root,
    older_modelscope_folders,
)
from chatui.catalog.resolving import missing_parts
from chatui.catalog.schema import Part, Preset
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings

_LOCK_SECONDS = 0.05
"""How long a lock is waited for; huggingface_hub does not try at all with 0."""


@dataclass(frozen=True)
class RemovalItem:
    """Something in a hub's cache that can be deleted.

    Attributes:
        title: how the catalog calls it.
        root: the repository's folder in the cache.
        paths: folders and files to delete: ``root``, or paths below it.
        size_bytes: bytes that this frees.
    """

    title: str
    root: Path
    paths: tuple[Path, ...]
    size_bytes: int


@dataclass(frozen=True)
class RemovalPlan:
    """What is deleted when a name is removed.

    Attributes:
        items: what is deleted.
        notes: sentences on what stays, and on presets that will lack a part.
    """

    items: tuple[RemovalItem, ...]
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.items)


def plan_removal(name: str, settings: Settings) -> RemovalPlan:
    """Plan what removing ``name`` deletes and frees.

    Only the hubs' caches are considered, never the user's own folders. A part that another usable
    preset needs stays.

    Args:
        name: a preset or a hub's "owner/name".

    Raises:
        ChatuiError: there is no such preset, nothing of it is in a cache, or it is being fetched.
    """
    preset = library.load().find(name)
    parts = preset.parts if preset else (part_of_hub(name, "hf"),)
    known = [each for each in library.load().by_name.values() if {*each.parts} != {*parts}]
    items: list[RemovalItem] = []
    notes: list[str] = []
    for part in parts:
        sharing = (each for each in known if _needs(each, part))
        others = sorted(each.name for each in sharing if not missing_parts(each, settings))
        found = [item for root in _roots(part) if (item := _removable(part, root))]
        if found and others and preset:
            notes.append(say("fetching.rm.stays", part=part.title, names=", ".join(others)))
            continue
        if found and others:
            notes.append(say("fetching.rm.missed", names=", ".join(others)))
        if not found and (own := find_part(part, settings)):
            notes.append(say("fetching.rm.own", part=part.title, path=own))
        items += found
    if not items:
        raise ChatuiError(" ".join([say("fetching.rm.nothing", name=name), *notes]))
    for item in items:
        _check_idle(item)
    return RemovalPlan(tuple(items), tuple(notes))


def remove(removal: RemovalPlan) -> int:
    """Delete what was planned, and return the number of bytes freed.

    Raises:
        ChatuiError: something could not be deleted.
    """
    for item in removal.items:
        try:
            for path in item.paths:
                _delete(path)
            if item.root.is_dir() and not any(_pointers(item.root)):
                _delete(item.root)
            locks = hugging_face_cache() / ".locks" / item.root.name
            if not item.root.exists() and locks.is_dir():
                shutil.rmtree(locks)
        except OSError as error:
            raise disk_error(error, item.root) from error
    return removal.size_bytes


def _check_idle(item: RemovalItem) -> None:
    """Raise ChatuiError if a process is fetching this repository into Hugging Face's cache."""
    for lock in (hugging_face_cache() / ".locks" / item.root.name).glob("*.lock"):
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        try:
            with WeakFileLock(lock, timeout=_LOCK_SECONDS):
                pass
        except TimeoutError as error:
            raise ChatuiError(say("fetching.rm.busy", name=item.title)) from error
        except OSError:
            # A lock without permission: the deletion will fail and say so.
            return


def _delete(path: Path) -> None:
    """Delete links first: an interrupted deletion leaves nothing that looks like a model."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    if (path / "snapshots").is_dir():
        shutil.rmtree(path / "snapshots")
    shutil.rmtree(path)


def _needs(preset: Preset, part: Part) -> bool:
    """Whether ``preset`` uses the files that removing ``part`` would take."""
    return any(
        {*part.hub_ids} & {*other.hub_ids}
        and (not part.file or not other.file or part.file == other.file)
        and (not part.folder or not other.folder or part.folder == other.folder)
        for other in preset.parts
    )


def _roots(part: Part) -> Iterator[Path]:
    """The folders of a part's repositories in the caches."""
    for hub_id in sorted({*part.hub_ids}):
        name = hub_id.replace("/", "--")
        candidates = [
            hugging_face_cache() / f"models--{name}",
            modelscope_root() / "models" / name,
            *older_modelscope_folders(hub_id),
        ]
        yield from (path for path in dict.fromkeys(candidates) if path.is_dir())


def _removable(part: Part, root: Path) -> RemovalItem | None:
    """The files of a repository that belong to ``part``; None if there are none."""
    below = "/".join(filter(None, (part.folder.strip("/"), part.file)))
    pointers = set(_pointers(root))
    going = {path for path in pointers if _in_repository(path, root).startswith(below)}
    if going == pointers:
        return RemovalItem(part.title, root, (root,), _size(root))
    if not going:
        return None
    staying = {path.resolve() for path in pointers - going}
    contents = {path.resolve() for path in going} - staying
    contents = {path for path in contents if path.is_relative_to(root.resolve())}
    freed = sum(path.stat().st_size for path in contents)
    return RemovalItem(part.title, root, (*sorted(going), *sorted(contents - going)), freed)


def _pointers(root: Path) -> Iterator[Path]:
    """The files of a repository as programs find them, of all its snapshots."""
    top = root / "snapshots" if (root / "snapshots").is_dir() else root
    for folder, _, files in os.walk(top):
        yield from (Path(folder) / file for file in files if not file.endswith(".incomplete"))


def _in_repository(pointer: Path, root: Path) -> str:
    below = pointer.relative_to(root).parts
    return "/".join(below[2:] if below[0] == "snapshots" else below)


def _size(root: Path) -> int:
    """Bytes of the files below ``root``, links not counted."""
    files = (Path(folder) / file for folder, _, names in os.walk(root) for file in names)
    return sum(file.lstat().st_size for file in files if not file.is_symlink())
