"""What models and adapters are called on the screen."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from chatui.catalog import library
from chatui.locales import current_language
from chatui.messages import Adapter, Loaded, ModelSpec

AND = " + "
"""Between the names of a model and of what was put on it."""


def adapter_title(path: str) -> str:
    """By its hub id where it lies in Hugging Face's cache, else the folder's or file's name."""
    parts = Path(path).parts
    for index, part in enumerate(parts):
        if part.startswith("models--"):
            # models--OWNER--NAME/snapshots/COMMIT/…
            inside = parts[index + 3 :]
            return "/".join((part.removeprefix("models--").replace("--", "/", 1), *inside))
    return Path(path).name or path


def reply_author(spec: ModelSpec, loaded: Loaded | None = None) -> str:
    """Who writes a reply: the model, then the adapters beside those that belong to it.

    A preset without its own adapters is not what it is called; then its base is named. Last comes
    what the weights were quantised to, if it is known and they were.
    """
    own, paths = _own_adapters(spec), [adapter.path for adapter in spec.adapters]
    if len(own) <= len(paths) and all(map(_is_called, paths, own)):
        name, rest = spec.name, spec.adapters[len(own) :]
    else:
        name, rest = adapter_title(spec.path), spec.adapters
    quantised = [loaded.dtype] if loaded and loaded.dtype in ("int8", "int4") else []
    return AND.join([name, *map(_with_scale, rest), *quantised])


def with_adapters(spec: ModelSpec, adapters: tuple[Adapter, ...]) -> ModelSpec:
    """The same base with other adapters; a name that was an adapter's goes with it."""
    is_adapters_name = library.find(spec.name) is None and bool(_own_adapters(spec))
    name = adapter_title(spec.path) if is_adapters_name else spec.name
    return replace(spec, name=name, adapters=adapters)


def _with_scale(adapter: Adapter) -> str:
    title = adapter_title(adapter.path)
    return title if adapter.scale == 1 else f"{title} ×{adapter.scale:g}"


def _own_adapters(spec: ModelSpec) -> list[str]:
    """The names of the adapters, in order, that make the model what it is called."""
    preset = library.find(spec.name) if spec.name else None
    if preset is not None:
        return [part.title for part in preset.fields.adapters or ()]
    first = spec.adapters[0].path if spec.adapters else ""
    return [spec.name] if first and _is_called(first, spec.name) else []


def _is_called(path: str, name: str) -> bool:
    """Whether a path's last step is the name's: repositories are copied without their owners."""
    return adapter_title(path).rpartition("/")[2] == name.rpartition("/")[2]


def display_name(name: str) -> str:
    """The title of a preset in the user's language; any other name as it is.

    What was put on the model stays beside its name.
    """
    model, put_on, adapters = name.partition(AND)
    return _title(model, current_language()) + put_on + adapters


def description_of(name: str) -> str:
    """A preset's one line in the user's language; "" for any other name."""
    preset = library.find(name) if name else None
    if preset is None or preset.fields.description is None:
        return ""
    return str(preset.fields.description)


@cache
def writes_markdown(name: str) -> bool:
    """Whether the replies of a model, by the name that a round has, are Markdown; verse is not."""
    preset = library.find(name.partition(AND)[0]) if name else None
    return preset is None or preset.fields.markdown is not False


@cache
def _title(name: str, language: str) -> str:
    preset = library.find(name) if name else None
    if preset is None or preset.fields.title is None:
        return name
    return str(preset.fields.title) or name
