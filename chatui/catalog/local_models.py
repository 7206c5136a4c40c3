"""Find models on this disk, in the hubs' caches and in the settings' folders, without network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from chatui import locations
from chatui.catalog.model_files import children, is_file, is_folder
from chatui.catalog.schema import Part, is_hub_id
from chatui.locations import expanded
from chatui.settings import Settings


class CachedRepository(NamedTuple):
    """A hub's repository on this disk: its id and the folder with its files."""

    hub_id: str
    folder: Path


def existing_path(reference: str) -> Path | None:
    """Return ``reference`` as the path of an existing file or folder; None if there is none."""
    if not reference.strip() or "\0" in reference:
        return None
    try:
        path = expanded(reference)
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def hugging_face_cache() -> Path:
    """Return the folder of huggingface_hub's cache, from the current environment variables."""
    variable = os.environ.get
    home = variable("HF_HOME") or f"{variable('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    named = variable("HF_HUB_CACHE") or variable("HUGGINGFACE_HUB_CACHE")
    return expanded(named or f"{home}/hub")


def modelscope_root() -> Path:
    """Return the folder of ModelScope's cache, from the current environment variables."""
    return expanded(os.environ.get("MODELSCOPE_CACHE") or "~/.cache/modelscope")


def _modelscope_caches() -> tuple[Path, ...]:
    """Return the folders in which ModelScope's clients before 1.38 put ``owner/name``."""
    root = modelscope_root()
    return (root / "models", root / "hub" / "models", root / "hub", root)


def hugging_face_snapshot(hub_id: str, revision: str = "") -> Path | None:
    """Return a cached snapshot of a repository: of ``revision``, else of main, else the newest."""
    folder = hugging_face_cache() / f"models--{hub_id.replace('/', '--')}"
    return _snapshot(folder, "main", revision)


def _snapshot(repository: Path, branch: str, revision: str = "") -> Path | None:
    snapshots, wanted = repository / "snapshots", revision or branch
    try:
        commit = (repository / "refs" / wanted).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        commit = wanted
    if commit and is_folder(snapshots / commit):
        return snapshots / commit
    if revision:
        return None
    return max(_folders(snapshots), key=lambda folder: folder.stat().st_mtime, default=None)


def modelscope_folder(hub_id: str) -> Path | None:
    """Return a repository's folder in ModelScope's cache; None if it is not there."""
    name = hub_id.replace("/", "--")
    folders = filter(is_folder, older_modelscope_folders(hub_id))
    return _snapshot(modelscope_root() / "models" / name, "master") or next(folders, None)


def older_modelscope_folders(hub_id: str) -> Iterator[Path]:
    """Yield the paths that clients before 1.38 used; the oldest wrote "." in names as "___"."""
    owner, _, name = hub_id.partition("/")
    for cache in _modelscope_caches():
        yield from (cache / owner / name, cache / owner / name.replace(".", "___"))


def _in_model_folders(hub_id: str, settings: Settings) -> Path | None:
    """Return a model in the settings' folders, as ``owner/name`` or as ``name``."""
    for root in settings.model_folders:
        for below in dict.fromkeys((hub_id, hub_id.rpartition("/")[2])):
            if path := existing_path(str(Path(root) / below)):
                return path
    return None


def locate(reference: str, settings: Settings) -> Path | None:
    """Return the path of ``reference``: a path, a repository, or a name in a settings' folder."""
    if path := existing_path(reference) or find_repository(reference, settings):
        return path
    is_name = reference.strip() and not {*reference} & {"/", "\\"}
    return _in_model_folders(reference, settings) if is_name else None


def find_repository(hub_id: str, settings: Settings, revision: str = "") -> Path | None:
    """Return the folder of a repository on this disk, from any hub; None if it is not there."""
    if not is_hub_id(hub_id):
        return None
    return (
        _in_model_folders(hub_id, settings)
        or hugging_face_snapshot(hub_id, revision)
        or modelscope_folder(hub_id)
    )


def find_part(part: Part, settings: Settings) -> Path | None:
    """Return the path of a preset's part on this disk; None if it is missing."""
    for root in _roots(part, settings):
        path = root / part.folder if part.folder else root
        if part.file and is_folder(path):
            path = path / part.file
        if is_file(path) or is_folder(path):
            return path
    return None


def cached_repositories() -> Iterator[CachedRepository]:
    """Yield all repositories in the caches of Hugging Face and ModelScope."""
    stores = (
        (hugging_face_cache(), "models--", "main"),
        (modelscope_root() / "models", "", "master"),
    )
    for store, prefix, branch in stores:
        for folder in _folders(store):
            name = folder.name.removeprefix(prefix)
            snapshot = _snapshot(folder, branch) if folder.name.startswith(prefix) else None
            if snapshot and "--" in name:
                yield CachedRepository(name.replace("--", "/", 1), snapshot)
    for cache in _modelscope_caches():
        for owner in _folders(cache):
            for folder in _folders(owner):
                if _looks_like_repository(folder):
                    yield CachedRepository(
                        f"{owner.name}/{folder.name.replace('___', '.')}", folder
                    )


def models_in_folders(settings: Settings) -> Iterator[Path]:
    """Yield folders and files that may be models, in the settings' folders down to two levels."""
    for root in settings.model_folders:
        yield from _models_below(expanded(root), depth=2)


def _models_below(path: Path, depth: int) -> Iterator[Path]:
    if _looks_like_repository(path):
        yield path
        return
    for child in children(path):
        if child.suffix in (".gguf", ".pth") and is_file(child):
            yield child
        elif depth and is_folder(child) and not child.name.startswith("."):
            yield from _models_below(child, depth - 1)


def _looks_like_repository(folder: Path) -> bool:
    return any(is_file(folder / name) for name in ("config.json", "adapter_config.json"))


def _roots(part: Part, settings: Settings) -> Iterator[Path]:
    if part.asset:
        yield locations.assets_folder() / part.asset
    if part.path:
        yield expanded(part.path)
    if part.local:
        yield from (expanded(root) / part.local for root in settings.model_folders)
    for hub_id in part.hub_ids:
        found = find_repository(hub_id, settings, part.revision if hub_id == part.hf else "")
        if found:
            yield found


def _folders(path: Path) -> list[Path]:
    return [child for child in children(path) if is_folder(child)]
