"""List the models, usable or not, and describe one."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from chatui.catalog import library, unlisted_models
from chatui.catalog.local_models import (
    cached_repositories,
    existing_path,
    find_part,
    models_in_folders,
)
from chatui.catalog.memory_need import (
    LEAST_WINDOW,
    NO_CACHE,
    SMALL_MODEL,
    CacheSize,
    MemoryFit,
    MemoryNeed,
    WindowRange,
    best_fit,
)
from chatui.catalog.model_files import WeightFiles, weight_files
from chatui.catalog.recognise import RecognisedModel, recognise
from chatui.catalog.resolving import find_path, missing_parts, why_missing
from chatui.catalog.schema import Preset, Role, is_hub_id
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings

_BITS = {"auto": (0, 8, 4), "plain": (0,), "int8": (8,), "int4": (4,)}
"""Setting ``weights`` -> bits to try, in order; 0 keeps the weights as stored."""

_QUANTISED_BYTES = {8: 1.09, 4: 0.74}
"""Bits -> bytes per parameter, measured on a Llama of 7B quantised while it loads."""

Kind = Literal["preset", "hub", "folder", "file", "adapter", "server"]


CHAT_MODELS = (("qwen3-1.7b", 12e9), ("qwen3", 0))
"""Recommended chat models, each with the bytes of memory a machine should have for it."""


@dataclass(frozen=True)
class ModelEntry:
    """A model in the list.

    Attributes:
        reference: value for ``--model`` (``--lora`` for an adapter).
        kind: a preset, a repository in a hub's cache, a folder, a file, an adapter, or a model on a
            server.
        title: shown beside the reference; may equal it.
        description: one line in the user's language; empty if unknown.
        family: e.g. "llama"; empty if unknown.
        format: name of the prompt format; empty if unknown.
        disk_bytes: size of its files: as published for a preset, else on this disk.
        memory_bytes: memory of its weights in the dtype in which they are stored.
        dtype_bytes: bytes per number of the weights; 0 if quantised or unknown.
        cache: size of the KV cache; zero if unknown.
        context_limit: the model's window in tokens; None if unknown.
        usable: whether it runs here now.
        missing: a sentence that says why it is not usable; empty if it is.
        lacking: titles of the missing parts, if fetching them makes it usable.
        system: the system of a preset; empty for other kinds.
    """

    reference: str
    kind: Kind
    title: str
    description: str = ""
    family: str = ""
    format: str = ""
    disk_bytes: int = 0
    memory_bytes: int = 0
    dtype_bytes: int = 0
    cache: CacheSize = NO_CACHE
    context_limit: int | None = None
    usable: bool = True
    missing: str = ""
    lacking: tuple[str, ...] = ()
    system: str = ""

    def fit(
        self, device: str, room: int, requested: int | None = None, weights: str = "auto"
    ) -> MemoryFit | None:
        """Return how it would run in ``room`` bytes on ``device``; None if it does not fit.

        Args:
            requested: requested window in tokens; None for the largest that fits.
            weights: value of the setting.
        """
        window = WindowRange.for_model(requested, self.context_limit or LEAST_WINDOW)
        if not self.dtype_bytes:
            return best_fit(MemoryNeed(0, self.memory_bytes, self.cache), (2,), window, room)
        # The same choice as in chatui.engine.placement: CPUs are fast and exact in float32.
        dtype_sizes = (4, self.dtype_bytes) if device == "cpu" else (self.dtype_bytes,)
        floats = self.memory_bytes // self.dtype_bytes
        for bits in _BITS[weights] if self.family != "rwkv" else (0,):
            need = MemoryNeed(floats, 0, self.cache)
            if bits:
                need = MemoryNeed(0, int(floats * _QUANTISED_BYTES[bits]), self.cache)
            found = best_fit(need, dtype_sizes[:1] if bits else dtype_sizes, window, room)
            if found is not None:
                return replace(found, bits=bits)
        return None

    @property
    def small(self) -> bool:
        """True if device "auto" keeps it on the CPU, where it is faster than on a GPU."""
        return 0 < self.memory_bytes < SMALL_MODEL * self.dtype_bytes


@dataclass(frozen=True)
class LocatedPart:
    """A part of a preset.

    Attributes:
        title: hub id or name.
        path: location on this disk; empty if missing.
    """

    role: Role
    title: str
    path: str = ""


@dataclass(frozen=True)
class ModelDetails:
    """A model in the list, with its preset.

    Attributes:
        preset: None if the model has no preset.
        parts: the preset's parts, in the order in which they are assembled.
    """

    entry: ModelEntry
    preset: Preset | None = None
    parts: tuple[LocatedPart, ...] = ()


def list_models(settings: Settings) -> tuple[ModelEntry, ...]:
    """Return all presets, and the models in the hubs' caches and in the settings' folders."""
    found: dict[str, tuple[Path, Kind]] = {}
    for repository in cached_repositories():
        found.setdefault(repository.hub_id, (repository.folder, "hub"))
    for path in models_in_folders(settings):
        found.setdefault(str(path), (path, "folder"))
    presets = (preset_entry(preset, settings) for preset in library.load().listed)
    return (*presets, *(path_entry(path, name, kind) for name, (path, kind) in found.items()))


def recommended_model(memory_bytes: int, settings: Settings) -> ModelEntry:
    """Return the chat model recommended for a machine with ``memory_bytes``, fetched or not."""
    name = next(name for name, least in CHAT_MODELS if memory_bytes >= least)
    return preset_entry(library.load().by_name[name], settings)


def preset_entry(preset: Preset, settings: Settings) -> ModelEntry:
    """Return the entry of a preset."""
    fields, weights = preset.fields, preset.fields.weights
    missing = str(fields.lacks or "")
    parts = () if missing else missing_parts(preset, settings)
    missing = missing or why_missing(preset, parts)
    found = RecognisedModel("", "")
    base = None if missing else find_part(preset.base, settings)
    if base is not None and base.is_dir():
        with suppress(ChatuiError):
            found = recognise(base)
    return ModelEntry(
        reference=preset.name,
        kind="preset",
        title=str(fields.title or preset.name),
        description=str(fields.description or ""),
        family=fields.family or "",
        format=fields.format or "",
        disk_bytes=round(weights.download_gb * 1e9) if weights else 0,
        memory_bytes=round(weights.fp16_gb * 1e9) if weights else 0,
        dtype_bytes=found.dtype_bytes,
        cache=found.cache,
        context_limit=fields.context_limit or found.context_limit,
        usable=not missing,
        missing=missing,
        lacking=tuple(part.title for part in parts) if all(p.on_hub for p in parts) else (),
        system=preset.system,
    )


def path_entry(path: Path, reference: str = "", kind: Kind = "folder") -> ModelEntry:
    """Return the entry of a folder, file or cached repository, from its config or header."""
    reference = reference or str(path)
    if kind == "folder" and not path.is_dir():
        kind = "file"
    weights = weight_files(path) if path.is_dir() else WeightFiles(path.stat().st_size)
    size = weights.total_bytes if weights else 0
    row = ModelEntry(
        reference, kind, reference.rpartition("/")[2], disk_bytes=size, memory_bytes=size
    )
    try:
        if unlisted_models.is_adapter(path):
            base = unlisted_models.adapter_base(path) or "?"
            missing = say("catalog.is_adapter", base=base, name=shlex.quote(reference))
            return replace(row, kind="adapter", usable=False, missing=missing)
        path = unlisted_models.model_in(path)
        found = recognise(path)
        missing = found.lacks or unlisted_models.why_incomplete(reference, path)
        format = unlisted_models.default_fields(reference, path, found).format or ""
    except ChatuiError as error:
        return replace(row, usable=False, missing=str(error))
    if found.backend == "llama.cpp" and not find_spec("llama_cpp"):
        missing = say("catalog.no_llama")
    fetchable = kind == "hub" and not found.lacks
    return replace(
        row,
        family=found.family,
        format=format,
        dtype_bytes=found.dtype_bytes,
        cache=found.cache,
        context_limit=found.context_limit,
        usable=not missing,
        missing=missing,
        lacking=weights.missing if fetchable and weights else (),
    )


def describe_model(reference: str, settings: Settings) -> ModelDetails:
    """Return the details of the model called ``reference`` (see ``resolve``).

    Raises:
        ChatuiError: there is no such model.
    """
    preset = library.load().find(reference)
    if preset is not None:
        parts = (
            LocatedPart(role, part.title, str(find_part(part, settings) or ""))
            for role, part in preset.parts_by_role
        )
        return ModelDetails(preset_entry(preset, settings), preset, tuple(parts))
    path = find_path(reference, settings)
    is_fetched = is_hub_id(reference) and existing_path(reference) is None
    return ModelDetails(path_entry(path, reference, "hub") if is_fetched else path_entry(path))
