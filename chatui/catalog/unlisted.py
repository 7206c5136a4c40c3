"""Models that no preset names: what a folder, a file or a repository is, and its defaults."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chatui.catalog import library
from chatui.catalog.gguf import check_gguf, read_gguf
from chatui.catalog.model_files import check_not_pointer, has_tokenizer
from chatui.catalog.places import existing, find_part, find_repository
from chatui.catalog.recognise import Recognised, read_config, recognise
from chatui.catalog.schema import Facts, Preset, is_hub_id
from chatui.catalog.weight_files import (
    ADAPTER_CONFIG,
    check_no_pointers,
    is_rwkv_file,
    weight_files,
)
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.prompting.families import CHAT_TEMPLATE
from chatui.sampling import DEFAULTS, SETTINGS, SamplingSettings, overridden
from chatui.settings import Settings

FAMILY_PRESETS = {
    "chatglm": "chatglm-6b",
    "moss": "moss",
    "bloom": "bloomz",
    "gpt2": "gpt2-chinese",
    "rwkv": "chatrwkv",
}
"""Whose sampling a model of a family takes that says none itself."""

_SAMPLING_KEYS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def of_path(name: str, path: Path, settings: Settings) -> ModelSpec:
    """The spec of the model at ``path``, shown as ``name``.

    Raises:
        ChatuiError: there is no model, it is incomplete, or it cannot run here.
    """
    if path.is_dir():
        return _of_folder(name, path, settings)
    return _of_file(name, path, settings)


def lacking(name: str, folder: Path, missing: Sequence[str]) -> str:
    """The sentence on files that are not there; only what has a hub's id can be fetched again."""
    names = ", ".join(missing)
    if not is_hub_id(name):
        return say("catalog.missing_files", path=folder, names=names)
    command = shlex.join(["chatui", "pull", name])
    return say("catalog.missing_shards", path=folder, names=names, command=command)


def listed_as(hub_id: str) -> Preset | None:
    """The preset whose base alone is this repository (by its last name for a plain folder)."""
    wanted = hub_id.casefold()
    for preset in library.load().by_name.values():
        if len(preset.parts) != 1 or preset.base.file or preset.base.asset:
            continue
        base = preset.base
        for candidate in filter(None, (base.hf, base.modelscope, *base.also)):
            same = candidate.casefold()
            if same == wanted or ("/" not in wanted and same.rpartition("/")[2] == wanted):
                return preset
    return None


def adapter_of_preset(hub_id: str) -> Preset | None:
    """The preset whose last adapter is this repository."""
    wanted = hub_id.casefold()
    for preset in library.load().by_name.values():
        for adapter in (preset.facts.adapters or ())[-1:]:
            if wanted in (adapter.hf.casefold(), adapter.modelscope.casefold()) and wanted:
                return preset
    return None


def adapts(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter and no model."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file()


def base_of(folder: Path) -> str:
    """The base that an adapter's config names; "" if it names none."""
    return str(read_config(folder, ADAPTER_CONFIG).get("base_model_name_or_path") or "")


def _of_folder(name: str, folder: Path, settings: Settings) -> ModelSpec:
    if adapts(folder):
        return _of_adapter(name, folder, settings)
    if not (folder / "config.json").is_file():
        return _of_file(name, _the_one_file(folder), settings)
    found = recognise(folder)
    if found.lacks:
        raise ChatuiError(say("catalog.cannot_run", name=name, reason=found.lacks))
    weights = weight_files(folder)
    if weights is None:
        raise ChatuiError(say("catalog.no_weights", path=folder))
    if weights.missing:
        raise ChatuiError(lacking(name, folder, weights.missing))
    check_no_pointers(folder)
    facts = facts_of(name, folder, found)
    return ModelSpec(
        name=name,
        path=str(folder),
        family=found.family,
        format=facts.format,
        sampling=overridden(DEFAULTS, facts.sampling or {}),
        stop_strings=facts.stop_strings or (),
        eos_ids=facts.eos_ids or (),
        context_limit=facts.context_limit,
        context=facts.context if isinstance(facts.context, int) else None,
        system=facts.system,
    )


def facts_of(name: str, folder: Path, found: Recognised) -> Facts:
    """A preset's facts where one names this model, else its family's format and sampling."""
    preset = listed_as(name) or listed_as(folder.name)
    if preset:
        return preset.facts
    sampling = _own_sampling(folder)
    if not sampling:
        kin = library.load().by_name.get(FAMILY_PRESETS.get(found.family, ""))
        sampling = dict(kin.facts.sampling or {}) if kin and found.format != CHAT_TEMPLATE else {}
    return Facts(format=found.format, sampling=sampling or {"temperature": 0.7, "top_p": 0.9})


def _own_sampling(folder: Path) -> dict[str, Any]:
    """What generation_config.json asks for."""
    try:
        config = read_config(folder, "generation_config.json")
    except ChatuiError:
        return {}
    said = {
        key: config[key]
        for key in _SAMPLING_KEYS
        if key in config and SETTINGS[key].allows(config[key])
    }
    return said if config.get("do_sample") or "temperature" in said else {}


def _the_one_file(folder: Path) -> Path:
    """The single model file in a folder without a config."""
    try:
        files = [file for file in sorted(folder.iterdir()) if _is_model_file(file)]
    except OSError as error:
        raise ChatuiError(say("catalog.unreadable", file=folder, reason=error)) from error
    if not files:
        raise ChatuiError(say("catalog.no_model", path=folder))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ChatuiError(say("catalog.several_files", path=folder, names=names))
    return files[0]


def _is_model_file(file: Path) -> bool:
    return file.suffix == ".gguf" or is_rwkv_file(file)


def _of_file(name: str, file: Path, settings: Settings) -> ModelSpec:
    header = read_gguf(file)
    if header:
        check_gguf(file)
        return ModelSpec(
            name=name,
            path=str(file),
            backend="llama.cpp",
            family=header.architecture or None,
            format=CHAT_TEMPLATE if header.has_chat_template else None,
            sampling=SamplingSettings(temperature=0.7, top_p=0.9),
        )
    if is_rwkv_file(file):
        system = "chatrwkv-world" if "world" in file.name.casefold() else "chatrwkv"
        facts = library.load().by_name[system].facts
        found = find_part(facts.tokenizer, settings) if facts.tokenizer else None
        return ModelSpec(
            name=name,
            path=str(file),
            family="rwkv",
            format=facts.format,
            tokenizer=str(found) if found else None,
            sampling=overridden(DEFAULTS, facts.sampling or {}),
        )
    check_not_pointer(file)
    if file.suffix == ".gguf":
        check_gguf(file)
    raise ChatuiError(say("catalog.no_model", path=file))


def _of_adapter(name: str, folder: Path, settings: Settings) -> ModelSpec:
    """An adapter alone: its config says which base it goes on."""
    base = base_of(folder)
    if not base:
        raise ChatuiError(say("catalog.adapter_without_base", name=name))
    path = existing(base)
    if path is None or not path.is_dir():
        path = find_repository(base, settings)
    if path is None:
        command = shlex.join(["chatui", "pull", base])
        raise ChatuiError(say("catalog.adapter_needs_base", name=name, base=base, command=command))
    spec = _of_folder(base, path, settings)
    return ModelSpec(
        name=name,
        path=spec.path,
        family=spec.family,
        format=spec.format,
        tokenizer=str(folder) if has_tokenizer(folder) else None,
        adapters=(Adapter(str(folder)),),
        sampling=spec.sampling,
    )
