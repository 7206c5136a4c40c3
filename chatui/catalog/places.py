"""Where models lie on this disk: the hubs' caches and the folders of the settings, no network."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from chatui import locations
from chatui.catalog.schema import Part
from chatui.settings import Settings

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def is_hub_id(text: str) -> bool:
    """Whether ``text`` could be a hub's "owner/name"."""
    owner, _, name = text.partition("/")
    words_start_well = not owner.startswith(("-", ".")) and not name.startswith(("-", "."))
    return bool(_HUB_ID.fullmatch(text)) and ".." not in text and words_start_well


def hugging_face_cache() -> Path:
    """huggingface_hub's cache, by the environment as it is now."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(named).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or str(Path(cache) / "huggingface")
    return Path(home).expanduser() / "hub"


def modelscope_cache() -> Path:
    """ModelScope's cache: the folder that holds ``owner/name``, by the environment as it is now."""
    named = os.environ.get("MODELSCOPE_CACHE")
    root = Path(named).expanduser() if named else Path("~/.cache/modelscope/hub").expanduser()
    return root / "models" if (root / "models").is_dir() else root


def in_hugging_face(hub_id: str, revision: str = "") -> Path | None:
    """The snapshot of a repository in the cache: of ``revision``, else of main, else the newest."""
    repository = hugging_face_cache() / f"models--{hub_id.replace('/', '--')}"
    snapshots = repository / "snapshots"
    wanted = revision or "main"
    try:
        commit = (repository / "refs" / wanted).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        commit = wanted
    if commit and (snapshots / commit).is_dir():
        return snapshots / commit
    if revision:
        return None
    try:
        return max(snapshots.iterdir(), key=lambda folder: folder.stat().st_mtime, default=None)
    except OSError:
        return None


def in_modelscope(hub_id: str) -> Path | None:
    """A repository's folder in ModelScope's cache, which writes "." in names as "___"."""
    owner, _, name = hub_id.partition("/")
    for spelled in dict.fromkeys((name, name.replace(".", "___"))):
        folder = modelscope_cache() / owner / spelled
        if folder.is_dir():
            return folder
    return None


def in_folders(hub_id: str, settings: Settings) -> Path | None:
    """A repository's copy in a folder of the settings, as ``owner/name`` or as ``name``."""
    for root in settings.model_folders:
        for below in dict.fromkeys((hub_id, hub_id.rpartition("/")[2])):
            path = Path(root).expanduser() / below
            if path.exists():
                return path
    return None


def find_repository(hub_id: str, settings: Settings, revision: str = "") -> Path | None:
    """A hub's repository on this disk, wherever it came from."""
    if not is_hub_id(hub_id):
        return None
    return (
        in_folders(hub_id, settings) or in_hugging_face(hub_id, revision) or in_modelscope(hub_id)
    )


def find_part(part: Part, settings: Settings) -> Path | None:
    """A preset's part on this disk; None where it is missing."""
    for root in _roots(part, settings):
        path = root / part.folder if part.folder else root
        if part.file and path.is_dir():
            path = path / part.file
        if path.exists():
            return path
    return None


def _roots(part: Part, settings: Settings) -> Iterator[Path]:
    if part.asset:
        yield locations.assets_folder() / part.asset
    if part.path:
        yield Path(part.path).expanduser()
    for hub_id in (part.hf, part.modelscope, *part.also):
        found = find_repository(hub_id, settings, part.revision if hub_id == part.hf else "")
        if found:
            yield found
