"""The adapters on this disk that can be offered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chatui.catalog import unlisted
from chatui.catalog.places import cached_repositories, in_users_folders
from chatui.errors import ChatuiError
from chatui.messages import Adapter
from chatui.settings import Settings
from chatui.tui.adapter_names import adapter_title


@dataclass(frozen=True)
class FoundAdapter:
    """An adapter that can be put on.

    Attributes:
        adapter: what a model spec takes.
        title: how it is called.
        base: the model that it says it was made for; "" where it does not say.
    """

    adapter: Adapter
    title: str
    base: str = ""


def found_adapters(settings: Settings, given: tuple[Adapter, ...] = ()) -> tuple[FoundAdapter, ...]:
    """The adapters ``given``, then those in the hubs' caches and in the settings' folders."""
    on_disk = (Adapter(str(path)) for path in _paths(settings))
    by_path = {_same(one): one for one in (*on_disk, *given)}
    first = {_same(one): one for one in given}
    return tuple(_described(one) for one in (first | by_path).values())


def _paths(settings: Settings) -> Iterator[Path]:
    """Folders of PEFT adapters, and files that are called as bare state dicts usually are."""
    for repository in cached_repositories():
        if unlisted.adapts(repository.folder):
            yield repository.folder
    for path in in_users_folders(settings):
        if path.is_dir() and unlisted.adapts(path):
            yield path
    for root in settings.model_folders:
        for pattern in ("*lora*.pt", "*/*lora*.pt"):
            with suppress(OSError):
                yield from sorted(Path(root).expanduser().glob(pattern))


def _same(adapter: Adapter) -> Path:
    return Path(adapter.path).expanduser().absolute()


def _described(adapter: Adapter) -> FoundAdapter:
    path = Path(adapter.path)
    base = ""
    with suppress(ChatuiError):
        base = unlisted.base_of(path) if path.is_dir() else ""
    return FoundAdapter(adapter, adapter_title(adapter.path), base)
