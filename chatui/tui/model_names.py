"""The names of models and adapters on the screen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from chatui.catalog import library
from chatui.catalog.schema import PresetFields
from chatui.locales import current_language
from chatui.messages import Adapter, Loaded, ModelSpec

SEPARATOR = " + "
"""Between the names of a model, its adapters and its quantisation."""


def adapter_title(path: str) -> str:
    """Return the hub id of an adapter in Hugging Face's cache, else the last part of its path."""
    parts = Path(path).parts
    for index, part in enumerate(parts):
        if part.startswith("models--"):
            # models--OWNER--NAME/snapshots/COMMIT/…
            inside = parts[index + 3 :]
            return "/".join((part.removeprefix("models--").replace("--", "/", 1), *inside))
    return Path(path).name or path


def reply_author(spec: ModelSpec, loaded: Loaded | None = None) -> str:
    """Return the name that is recorded as a reply's author: model + adapters + quantisation.

    A preset's own adapters are part of its name; without them, the name of its base is used.
    """
    own, paths = _own_adapters(spec), [adapter.path for adapter in spec.adapters]
    if len(own) <= len(paths) and all(map(_is_called, paths, own)):
        name, rest = spec.name, spec.adapters[len(own) :]
    else:
        name, rest = adapter_title(spec.path), spec.adapters
    quantised = [loaded.dtype] if loaded and loaded.dtype in ("int8", "int4") else []
    return SEPARATOR.join([name, *map(_with_scale, rest), *quantised])


def with_adapters(spec: ModelSpec, adapters: tuple[Adapter, ...]) -> ModelSpec:
    """Replace the adapters of a spec; a name that came from an adapter becomes the base's."""
    is_adapters_name = library.find(spec.name) is None and bool(_own_adapters(spec))
    name = adapter_title(spec.path) if is_adapters_name else spec.name
    return replace(spec, name=name, adapters=adapters)


def _with_scale(adapter: Adapter) -> str:
    title = adapter_title(adapter.path)
    return title if adapter.scale == 1 else f"{title} ×{adapter.scale:g}"


def _own_adapters(spec: ModelSpec) -> list[str]:
    """Return the names of the adapters, in order, that the model's name includes."""
    preset = library.find(spec.name) if spec.name else None
    if preset is not None:
        return [part.title for part in preset.fields.adapters or ()]
    first = spec.adapters[0].path if spec.adapters else ""
    return [spec.name] if first and _is_called(first, spec.name) else []


def _is_called(path: str, name: str) -> bool:
    """Return whether an adapter has this name; the owner is ignored, as copies often lack it."""
    return adapter_title(path).rpartition("/")[2] == name.rpartition("/")[2]


def display_name(name: str) -> str:
    """Return an author's name with a preset's title in the user's language."""
    model, separator, adapters = name.partition(SEPARATOR)
    return _title(model, current_language()) + separator + adapters


def description_of(name: str) -> str:
    """Return a preset's description in the user's language; "" for other names."""
    return str(_preset_fields(name).description or "")


@cache
def writes_markdown(name: str) -> bool:
    """Return whether an author's replies are Markdown; those of the poets are not."""
    return _preset_fields(name.partition(SEPARATOR)[0]).markdown is not False


@cache
def _title(name: str, language: str) -> str:
    return str(_preset_fields(name).title or "") or name


def _preset_fields(name: str) -> PresetFields:
    """Return the fields of a preset; empty ones for other names."""
    preset = library.find(name) if name else None
    return PresetFields() if preset is None else preset.fields
