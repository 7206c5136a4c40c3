"""Delete fetched models from the hubs' caches."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chatui.catalog import library
from chatui.catalog.fetching.hub_errors import disk_error
from chatui.catalog.fetching.hubs import modelscope_lock
from chatui.catalog.fetching.needed_files import with_shards
from chatui.catalog.fetching.planning import part_of_hub
from chatui.catalog.local_models import (
    find_part,
    hugging_face_cache,
    modelscope_root,
    older_modelscope_folders,
)
from chatui.catalog.resolving import join_sentences, missing_parts
from chatui.catalog.schema import Part, Preset
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings

_LOCK_SECONDS = 0.05
"""Timeout for a lock; huggingface_hub's WeakFileLock never tries with 0."""


@dataclass(frozen=True)
class RemovalItem:
    """Files of one repository to delete from a hub's cache.

    Attributes:
        title: name in messages.
        root: folder of the repository in the cache.
        paths: folders and files to delete: ``root``, or paths below it.
        size_bytes: bytes freed.
    """

    title: str
    root: Path
    paths: tuple[Path, ...]
    size_bytes: int


@dataclass(frozen=True)
class RemovalPlan:
    """The files to delete for a model.

    Attributes:
        items: one for each repository.
        notes: sentences about parts that stay, and presets that will lack a part.
    """

    items: tuple[RemovalItem, ...]
    notes: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.items)


def plan_removal(name: str, settings: Settings) -> RemovalPlan:
    """Plan the removal of a model.

    Only files in the hubs' caches are deleted, never those in the user's own folders. Parts of a
    preset that another usable preset needs are kept.

    Args:
        name: a preset, a hub's "owner/name", or "owner/name/path" of a file or folder.

    Raises:
        ChatuiError: there is no such preset, none of its files is in a cache, or it is being
            fetched.
    """
    preset = library.load().find(name)
    parts = preset.parts if preset else (part_of_hub(name, "hf"),)
    known = [each for each in library.load().by_name.values() if {*each.parts} != {*parts}]
    items: list[RemovalItem] = []
    notes: list[str] = []
    for part in parts:
        sharing = (each for each in known if _needs(each, part))
        others = sorted(each.name for each in sharing if not missing_parts(each, settings))
        found = [item for root in _roots(part) if (item := _removal_item(part, root))]
        if found and others and preset:
            notes.append(say("fetching.rm.stays", part=part.title, names=", ".join(others)))
            continue
        if found and others:
            notes.append(say("fetching.rm.missed", names=", ".join(others)))
        if not found and (path := find_part(part, settings)):
            notes.append(say("fetching.rm.own", part=part.title, path=path))
        items += found
    if not items:
        raise ChatuiError(join_sentences([say("fetching.rm.nothing", name=name), *notes]))
    for item in items:
        _check_idle(item)
    return RemovalPlan(tuple(items), tuple(notes))


def remove(removal: RemovalPlan) -> int:
    """Delete the planned files and return the number of bytes freed.

    Raises:
        ChatuiError: a file could not be deleted.
    """
    for item in removal.items:
        try:
            for path in item.paths:
                _delete(path)
            if item.root.is_dir() and not _pointers(item.root):
                _delete(item.root)
            locks = hugging_face_cache() / ".locks" / item.root.name
            if not item.root.exists() and locks.is_dir():
                shutil.rmtree(locks)
        except OSError as error:
            raise disk_error(error, item.root) from error
    return removal.size_bytes


def _check_idle(item: RemovalItem) -> None:
    """Raise ChatuiError if a process is fetching this repository."""
    partials = (file.with_suffix("") for file in item.root.rglob("*.incomplete"))
    locks = (hugging_face_cache() / ".locks" / item.root.name).glob("*.lock")
    for lock in (*locks, *filter(Path.exists, map(modelscope_lock, partials))):
        from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

        try:
            with WeakFileLock(lock, timeout=_LOCK_SECONDS):
                pass
        except TimeoutError as error:
            raise ChatuiError(say("fetching.rm.busy", name=item.title)) from error
        except OSError:
            # Without permission for the lock, the deletion fails with its own sentence.
            return


def _delete(path: Path) -> None:
    """Delete a file or folder, links first, so that an interruption leaves no broken model."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if (path / "snapshots").is_dir():
        shutil.rmtree(path / "snapshots")
    shutil.rmtree(path)


def _needs(preset: Preset, part: Part) -> bool:
    """True if ``preset`` uses files that belong to ``part``."""
    return any(
        {*part.hub_ids} & {*other.hub_ids}
        and (not part.file or not other.file or part.file == other.file)
        and (not part.folder or not other.folder or part.folder == other.folder)
        for other in preset.parts
    )


def _roots(part: Part) -> Iterator[Path]:
    """Yield the folders of a part's repositories in the caches."""
    for hub_id in sorted({*part.hub_ids}):
        name = hub_id.replace("/", "--")
        current = (hugging_face_cache() / f"models--{name}", modelscope_root() / "models" / name)
        candidates = dict.fromkeys((*current, *older_modelscope_folders(hub_id)))
        yield from filter(Path.is_dir, candidates)


def _removal_item(part: Part, root: Path) -> RemovalItem | None:
    """Return the files of a repository that belong to ``part``; None without any."""
    path = "/".join(filter(None, (part.folder.strip("/"), part.file)))
    pointers = _pointers(root)
    shards = with_shards(path, pointers.values())
    removed = {
        pointer
        for pointer, name in pointers.items()
        if not path or name in shards or name.startswith(f"{path}/")
    }
    if removed == pointers.keys():
        files = (file for file in root.rglob("*") if file.is_file() and not file.is_symlink())
        return RemovalItem(part.title, root, (root,), sum(file.stat().st_size for file in files))
    if not removed:
        return None
    kept = {pointer.resolve() for pointer in pointers.keys() - removed}
    contents = {pointer.resolve() for pointer in removed} - kept
    contents = {file for file in contents if file.is_relative_to(root.resolve())}
    freed = sum(file.stat().st_size for file in contents)
    return RemovalItem(part.title, root, (*sorted(removed), *sorted(contents - removed)), freed)


def _pointers(root: Path) -> dict[Path, str]:
    """Return the files of all snapshots of a repository with their paths in the repository."""
    snapshots = root / "snapshots"
    tops = list(snapshots.iterdir()) if snapshots.is_dir() else [root]
    return {
        file: file.relative_to(top).as_posix()
        for top in tops
        for file in top.rglob("*")
        if not file.is_dir() and file.suffix != ".incomplete"
    }
