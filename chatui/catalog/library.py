"""Load the shipped presets and the user's own, which override them; save one of the user's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import toml

from chatui import locations
from chatui.catalog.schema import (
    NAME,
    SPEC_FIELDS,
    InvalidValue,
    Preset,
    PresetFields,
    SystemFile,
    presets_of,
)
from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.messages import ModelSpec
from chatui.sampling import DEFAULTS, SETTINGS
from chatui.text import in_quotes, one_line
from chatui.validation_errors import key_and_reason

SHIPPED = Path(__file__).parent / "presets"

_PARTS = {"base": "path", "tokenizer": "tokenizer", "delta": "delta"}
"""Parts of a preset -> the fields of a ModelSpec with their paths."""


@dataclass(frozen=True)
class Presets:
    """All presets.

    Attributes:
        by_name: name -> preset.
        by_alias: case-folded alias -> preset.
        listed: each preset once; a default variant only under the bare name of its system.
        problems: one sentence for each invalid file of the user, which was skipped.
    """

    by_name: dict[str, Preset]
    by_alias: dict[str, Preset]
    listed: tuple[Preset, ...]
    problems: tuple[str, ...]

    def find(self, reference: str) -> Preset | None:
        """Return the preset with this name or alias, ignoring case."""
        folded = reference.strip().casefold()
        return self.by_name.get(folded) or self.by_alias.get(folded)

    def with_base(self, hub_id: str) -> Preset | None:
        """Return the preset with only this base, by the base's id or the last part of it."""
        wanted = hub_id.casefold()
        for preset in self.by_name.values():
            known = preset.base_ids | {hub_id.rpartition("/")[2] for hub_id in preset.base_ids}
            is_whole = len(preset.parts) == 1 and not preset.base.file
            if is_whole and wanted in known:
                return preset
        return None

    def with_adapter(self, hub_id: str) -> Preset | None:
        """Return the preset whose last adapter is this repository."""
        wanted = hub_id.casefold()
        for preset in self.by_name.values():
            for adapter in (preset.fields.adapters or ())[-1:]:
                if wanted and wanted in (adapter.hf.casefold(), adapter.modelscope.casefold()):
                    return preset
        return None


def find(reference: str) -> Preset | None:
    """Return the preset with this name, alias, or hub id of its last adapter.

    If possible, only one file is read.

    The first frame of the screen waits for this, and reading all files takes ten times as long.
    """
    folded = reference.strip().casefold()
    file = SHIPPED / f"{folded}.toml"
    if len(folded) < 100 and NAME.fullmatch(folded) and not _users() and file.is_file():
        for preset in presets_of(_read_shipped(file)):
            if preset.name == folded:
                return preset
    return load().find(reference) or load().with_adapter(reference)


def adapter_presets_for(reference: str) -> tuple[str, ...]:
    """Return the names of the presets that put an adapter on a base, a preset or a hub id."""
    base = load().find(reference)
    wanted = {reference.casefold()} | (base.base_ids if base else set())
    return tuple(
        each.name
        for each in load().listed
        if each.fields.adapters and wanted & each.base_ids and each is not base
    )


def problems() -> tuple[str, ...]:
    """Return a sentence for each of the user's preset files that is invalid and was skipped."""
    return load().problems if _users() else ()


def why_skipped(name: str) -> str:
    """Return the sentence about the user's invalid preset file of this name; "" without one."""
    file = os.sep + f"{name}.toml"
    return next((problem for problem in problems() if file in problem), "")


def load() -> Presets:
    """Read all presets; invalid files of the user are skipped and listed in ``problems``."""
    return _load(_users(), current_language())


@lru_cache(maxsize=2)
def _load(users: tuple[tuple[Path, int], ...], language: str) -> Presets:
    """Read all presets again if the user's files or the language of the problems changed."""
    systems = {system.name: system for system in _shipped()}
    problems = []
    for file, _ in users:
        try:
            system = read_user_preset(file)
        except ChatuiError as error:
            problems.append(str(error))
        else:
            systems[system.name] = system
    presets = [preset for system in systems.values() for preset in presets_of(system)]
    doubles = {f"{system.name}-{system.default}" for system in systems.values()}
    return Presets(
        by_name={preset.name: preset for preset in presets},
        by_alias={alias.casefold(): preset for preset in presets for alias in preset.aliases},
        listed=tuple(preset for preset in presets if preset.name not in doubles),
        problems=tuple(problems),
    )


def read_user_preset(file: Path) -> SystemFile:
    """Read and check a preset file of the user.

    Raises:
        ChatuiError: the file is invalid; the sentence names the file and, if possible, the line.
    """
    try:
        text = file.read_text(encoding="utf-8")
        raw = toml.decode(text)
    except (OSError, ValueError, RecursionError) as error:
        # Huge numbers and deep nesting raise Python's own errors instead of TOMLDecodeError.
        is_text = not isinstance(error, OSError | UnicodeDecodeError)
        key = "catalog.preset.not_toml" if is_text else "catalog.unreadable"
        raise ChatuiError(say(key, file=file, reason=error)) from error
    raw.setdefault("name", file.stem)
    return validated(raw, text, file)


def validated(raw: dict[str, Any], text: str, file: Path) -> SystemFile:
    """Check the content of a preset file against the schema and convert it.

    Raises:
        ChatuiError: the first fault, with file and line.
    """
    keys: tuple[str, ...] = ()
    try:
        variants = raw.get("variants")
        for suffix, fields in variants.items() if isinstance(variants, dict) else ():
            # One at a time, because msgspec's errors omit keys of a mapping.
            keys = ("variants", suffix)
            msgspec.convert(fields, PresetFields)
        keys = ()
        return msgspec.convert(raw, SystemFile)
    except msgspec.ValidationError as error:
        key, reason = key_and_reason(error, SystemFile)
        keys += tuple(re.findall(r"[^.\[\]]+", key))
        if isinstance(error.__cause__, InvalidValue):
            keys += error.__cause__.keys
        line, key = line_of(text, keys), ".".join(keys) or "name"
        message = say("catalog.preset.wrong", file=file, line=line, key=key, reason=reason)
        raise ChatuiError(message) from error


def line_of(text: str, location: Sequence[str | int]) -> int:
    """Return the line, from 1, of the value at ``location`` (keys and indexes) in a TOML file.

    Falls back to the nearest enclosing table or key, then to the first line.
    """
    keys = [str(step) for step in location if isinstance(step, str)]
    table: list[str] = []
    best, best_depth = 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\[?\s*([^\]]+?)\s*\]", line)
        if header:
            table = [part.strip().strip("\"'") for part in header[1].split(".")]
            path = table
        else:
            assignment = re.match(r"\s*([\w.\"'-]+)\s*=", line)
            if not assignment:
                continue
            path = [*table, *(part.strip("\"'") for part in assignment[1].split("."))]
        depth = len(path)
        if path == keys[:depth] and depth > best_depth:
            best, best_depth = number, depth
    return best


@cache
def _shipped() -> tuple[SystemFile, ...]:
    return tuple(_read_shipped(file) for file in sorted(SHIPPED.glob("*.toml")))


@cache
def _read_shipped(file: Path) -> SystemFile:
    return toml.decode(file.read_text(encoding="utf-8"), type=SystemFile)


def _users() -> tuple[tuple[Path, int], ...]:
    """Return the user's preset files with their modification times in nanoseconds."""
    found = []
    try:
        for file in sorted(locations.user_presets_folder().glob("*.toml")):
            found.append((file, file.stat().st_mtime_ns))
    except OSError:
        pass
    return tuple(found)


def save_preset(name: str, spec: ModelSpec) -> Path:
    """Write ``presets/NAME.toml`` in the settings' folder, for ``--model NAME``.

    Raises:
        ChatuiError: the name is invalid or taken, the model runs on a server, or the file cannot be
            written.
    """
    shown = in_quotes(one_line(name, 60))
    if spec.backend == "openai":
        raise ChatuiError(say("catalog.own.server"))
    if not NAME.fullmatch(name) or len(name) > 60:
        raise ChatuiError(say("catalog.own.name", name=shown))
    file = locations.user_presets_folder() / f"{name}.toml"
    if file.exists() or find(name) is not None:
        raise ChatuiError(say("catalog.own.taken", name=shown))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as stream:
            stream.write(_toml(spec))
    except (OSError, UnicodeError) as error:
        raise ChatuiError(say("conversation.file_unwritable", path=file, reason=error)) from error
    try:
        read_user_preset(file)
    except ChatuiError:
        file.unlink(missing_ok=True)
        raise
    return file


def _toml(spec: ModelSpec) -> str:
    values = {name: getattr(spec, name) for name in SPEC_FIELDS}
    values |= {name: {"path": getattr(spec, field) or None} for name, field in _PARTS.items()}
    values["adapters"] = list(map(asdict, spec.adapters))
    values["dtype"] = spec.dtype if spec.dtype != "auto" else None
    sampling = {name: getattr(spec.sampling, name) for name in SETTINGS}
    chosen = {name: value for name, value in sampling.items() if value != getattr(DEFAULTS, name)}
    return "\n".join([*_pairs(values), "\n[sampling]", *_pairs(chosen)]) + "\n"


def _pairs(values: dict[str, Any]) -> Iterator[str]:
    """Yield ``name = value`` in TOML for each value that is not empty."""
    for name, value in values.items():
        if value not in (None, (), [], {"path": None}):
            yield f"{name} = {_value(value)}"


def _value(value: Any) -> str:
    """Format a value as TOML, whose strings, numbers and booleans are written as in JSON."""
    if isinstance(value, dict):
        return "{ " + ", ".join(_pairs(value)) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
