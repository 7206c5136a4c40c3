"""Find the adapters on this disk and describe them from their configs, without reading tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chatui.catalog.local_models import cached_repositories, models_in_folders
from chatui.catalog.model_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    children,
    is_file,
    is_folder,
)
from chatui.catalog.recognise import read_config
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.locations import expanded
from chatui.messages import Adapter
from chatui.settings import Settings
from chatui.text import in_quotes
from chatui.validation_errors import describe_error

_STATE_DICT_SUFFIXES = (".pt", ".bin")


@dataclass(frozen=True)
class AdapterSummary:
    """An adapter as its config describes it.

    Attributes:
        path: folder of a PEFT adapter or of a P-Tuning v2 prefix, or file of a bare state dict.
        title: the hub id, or the name of the folder or file.
        kind: PEFT's name ("LORA"), "P_TUNING_V2", or "" without a config.
        rank, alpha: None without a config.
        targets: names of the adapted modules.
        base: the model it was trained on; "" if not stated.
        disk_bytes: size of its weights.
    """

    path: str
    title: str
    kind: str = ""
    rank: int | None = None
    alpha: float | None = None
    targets: tuple[str, ...] = ()
    base: str = ""
    disk_bytes: int = 0


@dataclass(frozen=True)
class _Config:
    peft_type: str | None = None
    r: int | None = None
    lora_alpha: float | None = None
    target_modules: str | list[str] | None = None
    base_model_name_or_path: str | None = None


def describe_adapter(path: Path, title: str = "") -> AdapterSummary:
    """Describe the adapter at ``path`` from its config.

    Args:
        path: folder or file.
        title: shown name; the name of the folder or file if empty.

    Raises:
        ChatuiError: there is no adapter, or its config cannot be read.
    """
    folder = path if path.is_dir() else path.parent
    config = _read_config(folder) if is_file(folder / ADAPTER_CONFIG) else None
    kind = (config.peft_type or "LORA").upper() if config else ""
    if is_file(path):
        weights = [path]
    elif config:
        weights = [path / name for name in ADAPTER_WEIGHTS if is_file(path / name)][:1]
    elif _is_prefix(path):
        kind, weights = "P_TUNING_V2", list(path.glob("pytorch_model*.bin"))
    else:
        raise ChatuiError(say("catalog.no_such_adapter", path=in_quotes(str(path))))
    config = config or _Config()
    targets = config.target_modules or ()
    return AdapterSummary(
        path=str(path),
        title=title or path.absolute().name,
        kind=kind,
        rank=config.r,
        alpha=config.lora_alpha,
        targets=(targets,) if isinstance(targets, str) else tuple(targets),
        base=config.base_model_name_or_path or "",
        disk_bytes=sum(file.stat().st_size for file in weights),
    )


def named_adapter(text: str) -> Adapter:
    """Parse ``PATH[@SCALE]``; an existing path that contains "@" is taken whole.

    Raises:
        ChatuiError: the path is empty, or the scale is not finite.
    """
    path, value = text, 1.0
    with suppress(ValueError, OSError):
        before, at, scale = text.rpartition("@")
        if at and not Path(text).exists():
            path, value = before, float(scale)
    if not path.strip() or not math.isfinite(value):
        raise ChatuiError(say("cli.value.adapter", value=text))
    return Adapter(path, value)


def list_adapters(settings: Settings) -> tuple[AdapterSummary, ...]:
    """Return the adapters in the hubs' caches and in the settings' folders, sorted by title.

    Adapters with an unreadable config are skipped. A bare state dict is only found if its file's
    name contains "lora".
    """
    found: dict[Path, AdapterSummary] = {}
    for path, title in _candidates(settings):
        if path.resolve() not in found:
            with suppress(ChatuiError, OSError):
                found[path.resolve()] = describe_adapter(path, title)
    return tuple(sorted(found.values(), key=lambda summary: summary.title.casefold()))


def _candidates(settings: Settings) -> Iterator[tuple[Path, str]]:
    for repository in cached_repositories():
        # Some repositories, such as Alpaca-CoT's, hold one adapter in each folder.
        inner = filter(is_folder, children(repository.folder))
        for folder in (repository.folder, *inner):
            if _holds_adapter(folder):
                below = folder.relative_to(repository.folder).as_posix()
                title = repository.hub_id if below == "." else f"{repository.hub_id}/{below}"
                yield folder, title
    for path in models_in_folders(settings):
        if is_folder(path) and _holds_adapter(path):
            yield path, ""
    for root in map(expanded, settings.model_folders):
        for file in (*root.glob("*"), *root.glob("*/*")):
            is_lora = file.suffix in _STATE_DICT_SUFFIXES and "lora" in file.name.casefold()
            if is_lora and is_file(file):
                yield file, ""


def _holds_adapter(folder: Path) -> bool:
    return is_file(folder / ADAPTER_CONFIG) or _is_prefix(folder)


def _is_prefix(folder: Path) -> bool:
    """True if a checkpoint of ChatGLM-6B holds only a P-Tuning v2 prefix and no layers."""
    weights = folder / "pytorch_model.bin"
    with suppress(ChatuiError):
        has_prefix = bool(read_config(folder).get("pre_seq_len"))
        return has_prefix and is_file(weights) and not is_file(f"{weights}.index.json")
    return False


def _read_config(folder: Path) -> _Config:
    try:
        return msgspec.convert(read_config(folder, ADAPTER_CONFIG), _Config)
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError) as error:
        words = {"file": folder / ADAPTER_CONFIG, "reason": describe_error(error)}
        raise ChatuiError(say("catalog.unreadable", **words)) from error
