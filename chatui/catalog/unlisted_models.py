"""Resolve models without a preset: folders, files and repositories, with their defaults."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from chatui.catalog import library
from chatui.catalog.local_models import existing_path, locate
from chatui.catalog.model_files import (
    ADAPTER_CONFIG,
    check_no_pointers,
    has_tokenizer,
    is_file,
    is_rwkv_file,
    weight_files,
)
from chatui.catalog.recognise import RecognisedModel, read_config, recognise
from chatui.catalog.schema import Part, Preset, PresetFields, is_hub_id, pull_command
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.sampling import SETTINGS
from chatui.settings import Settings

_SAMPLING_KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def unlisted_preset(name: str, path: Path, settings: Settings) -> Preset:
    """Return a preset for the model at ``path``, or for the adapter there on its base.

    Args:
        name: shown name.

    Raises:
        ChatuiError: there is no model, it is incomplete, or it cannot run here.
    """
    if is_adapter(path):
        base = adapter_base(path)
        if not base:
            raise ChatuiError(say("catalog.adapter_without_base", name=name))
        below = locate(base, settings)
        if below is None:
            words = {"name": name, "base": base, "command": pull_command(base)}
            raise ChatuiError(say("catalog.adapter_needs_base", **words))
        fields, part = unlisted_preset(base, below, settings).fields, Part(path=str(path))
        adapters = (*(fields.adapters or ()), part)
        tokenizer = part if has_tokenizer(path) else fields.tokenizer
        return Preset(name, name, replace(fields, adapters=adapters, tokenizer=tokenizer))
    path = model_in(path)
    found = recognise(path)
    if found.lacks:
        raise ChatuiError(say("catalog.cannot_run", name=name, reason=found.lacks))
    if missing := why_incomplete(name, path):
        raise ChatuiError(missing)
    return Preset(name, name, default_fields(name, path, found))


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
    if len(files) != 1:
        key = "catalog.several_files" if files else "catalog.no_model"
        raise ChatuiError(say(key, path=path, names=", ".join(file.name for file in files)))
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
        key = "catalog.missing_shards" if is_hub_id(name) else "catalog.missing_files"
        words = {"names": ", ".join(weights.missing), "command": pull_command(name)}
        return say(key, path=path, **words)
    check_no_pointers(path)
    return ""


def is_adapter(folder: Path) -> bool:
    """True if a folder holds a PEFT adapter and no model."""
    return is_file(folder / ADAPTER_CONFIG) and not is_file(folder / "config.json")


def adapter_base(folder: Path) -> str:
    """Return the base that an adapter's config names; "" if it names none but itself."""
    base = str(read_config(folder, ADAPTER_CONFIG).get("base_model_name_or_path") or "")
    return "" if existing_path(base) == folder else base


def default_fields(name: str, path: Path, found: RecognisedModel) -> PresetFields:
    """Return the fields of a preset with this base, else the family's format and sampling."""
    backend, family = found.backend, found.family or None
    presets, base = library.load(), Part(path=str(path))
    if preset := presets.with_base(name) or presets.with_base(path.name):
        return replace(preset.fields, backend=backend, family=family, base=base)
    sampling_preset = presets.by_name.get(found.sampling_preset)
    sampling = _own_sampling(path) or (sampling_preset and sampling_preset.fields.sampling)
    return PresetFields(
        backend=backend,
        family=family,
        format=found.format or None,
        base=base,
        sampling=sampling or {"temperature": 0.7, "top_p": 0.9},
        tokenizer=sampling_preset.fields.tokenizer if sampling_preset and is_file(path) else None,
    )


def _own_sampling(folder: Path) -> dict[str, Any]:
    """Return generation_config.json's sampling settings; empty if it asks for greedy decoding."""
    config: dict[str, Any] = {}
    with suppress(ChatuiError):
        config = read_config(folder, "generation_config.json")
    known = {key: config[key] for key in _SAMPLING_KEYS if key in config}
    sampling = {key: value for key, value in known.items() if SETTINGS[key].allows(value)}
    return sampling if config.get("do_sample") or "temperature" in sampling else {}


def _is_model_file(file: Path) -> bool:
    return file.suffix == ".gguf" or is_rwkv_file(file)
