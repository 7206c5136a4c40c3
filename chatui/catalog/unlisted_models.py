"""Resolve models without a preset: folders, files and repositories, with their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from chatui.catalog import library
from chatui.catalog.local_models import existing_path, find_repository
from chatui.catalog.model_files import (
    ADAPTER_CONFIG,
    check_no_pointers,
    has_tokenizer,
    is_file,
    is_rwkv_file,
    weight_files,
)
from chatui.catalog.preset_parts import build_spec
from chatui.catalog.recognise import RecognisedModel, read_config, recognise
from chatui.catalog.schema import Preset, PresetFields, is_hub_id, pull_command
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.sampling import SETTINGS
from chatui.settings import Settings

_SAMPLING_KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def path_spec(name: str, path: Path, settings: Settings) -> ModelSpec:
    """Return the spec of the model or adapter at ``path``.

    Args:
        name: shown name.

    Raises:
        ChatuiError: there is no model, it is incomplete, or it cannot run here.
    """
    if is_adapter(path):
        return _adapter_spec(name, path, settings)
    path = model_in(path)
    found = recognise(path)
    if found.lacks:
        raise ChatuiError(say("catalog.cannot_run", name=name, reason=found.lacks))
    if missing := why_incomplete(name, path):
        raise ChatuiError(missing)
    fields = default_fields(name, path, found)
    return build_spec(name, str(path), fields, settings)


def model_in(path: Path) -> Path:
    """Return the path of a model: ``path`` itself, or the only model file in a folder.

    Raises:
        ChatuiError: a folder without a config holds no model file, or several.
    """
    if not path.is_dir() or is_file(path / "config.json"):
        return path
    try:
        files = [file for file in sorted(path.iterdir()) if _is_model_file(file)]
    except OSError as error:
        raise ChatuiError(say("catalog.unreadable", file=path, reason=error)) from error
    if not files:
        raise ChatuiError(say("catalog.no_model", path=path))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ChatuiError(say("catalog.several_files", path=path, names=names))
    return files[0]


def why_incomplete(name: str, path: Path) -> str:
    """Return the sentence about missing weights; "" if none is missing.

    Raises:
        ChatuiError: a file is a Git LFS pointer.
    """
    if not path.is_dir():
        return ""
    weights = weight_files(path)
    if weights is None:
        return say("catalog.no_weights", path=path)
    if weights.missing:
        return _why_files_missing(name, path, weights.missing)
    check_no_pointers(path)
    return ""


def _why_files_missing(name: str, folder: Path, missing: Sequence[str]) -> str:
    """Return the sentence about missing files, with the command that fetches them, if any."""
    names = ", ".join(missing)
    if not is_hub_id(name):
        return say("catalog.missing_files", path=folder, names=names)
    command = pull_command(name)
    return say("catalog.missing_shards", path=folder, names=names, command=command)


def preset_with_base(hub_id: str) -> Preset | None:
    """Return the preset with only this base (by the last part of its id for a folder's name)."""
    wanted = hub_id.casefold()
    for preset in library.load().by_name.values():
        if len(preset.parts) != 1 or preset.base.file or preset.base.asset:
            continue
        for known_id in map(str.casefold, preset.base.hub_ids):
            if known_id == wanted or ("/" not in wanted and known_id.rpartition("/")[2] == wanted):
                return preset
    return None


def preset_with_adapter(hub_id: str) -> Preset | None:
    """Return the preset whose last adapter is this repository."""
    wanted = hub_id.casefold()
    for preset in library.load().by_name.values():
        for adapter in (preset.fields.adapters or ())[-1:]:
            if wanted in (adapter.hf.casefold(), adapter.modelscope.casefold()) and wanted:
                return preset
    return None


def is_adapter(folder: Path) -> bool:
    """True if a folder holds a PEFT adapter and no model."""
    return is_file(folder / ADAPTER_CONFIG) and not is_file(folder / "config.json")


def adapter_base(folder: Path) -> str:
    """Return the base that an adapter's config names; "" if it names none."""
    return str(read_config(folder, ADAPTER_CONFIG).get("base_model_name_or_path") or "")


def default_fields(name: str, path: Path, found: RecognisedModel) -> PresetFields:
    """Return the fields of a preset with this base, else the family's format and sampling."""
    backend, family = found.backend, found.family or None
    if preset := preset_with_base(name) or preset_with_base(path.name):
        return replace(preset.fields, backend=backend, family=family)
    sampling_preset = library.load().by_name.get(found.sampling_preset)
    sampling = _own_sampling(path) or (sampling_preset and sampling_preset.fields.sampling)
    return PresetFields(
        backend=backend,
        family=family,
        format=found.format or None,
        sampling=sampling or {"temperature": 0.7, "top_p": 0.9},
        tokenizer=sampling_preset.fields.tokenizer if sampling_preset and is_file(path) else None,
    )


def _own_sampling(folder: Path) -> dict[str, Any]:
    """Return generation_config.json's sampling settings; empty if it asks for greedy decoding."""
    try:
        config = read_config(folder, "generation_config.json")
    except ChatuiError:
        return {}
    sampling = {
        key: config[key]
        for key in _SAMPLING_KEYS
        if key in config and SETTINGS[key].allows(config[key])
    }
    return sampling if config.get("do_sample") or "temperature" in sampling else {}


def _is_model_file(file: Path) -> bool:
    return file.suffix == ".gguf" or is_rwkv_file(file)


def _adapter_spec(name: str, folder: Path, settings: Settings) -> ModelSpec:
    """Return the spec of an adapter on the base that its config names."""
    base = adapter_base(folder)
    if not base:
        raise ChatuiError(say("catalog.adapter_without_base", name=name))
    path = existing_path(base)
    if path is None or not path.is_dir():
        path = find_repository(base, settings)
    if path is None:
        command = pull_command(base)
        raise ChatuiError(say("catalog.adapter_needs_base", name=name, base=base, command=command))
    spec = path_spec(base, path, settings)
    tokenizer = str(folder) if has_tokenizer(folder) else None
    adapters = (Adapter(str(folder)),)
    return dataclasses.replace(spec, name=name, tokenizer=tokenizer, adapters=adapters)
