"""The parts of a preset on this disk: the spec they make, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chatui import locations
from chatui.catalog.local_models import find_part
from chatui.catalog.model_files import has_all_files, is_file
from chatui.catalog.schema import SPEC_FIELDS, Part, Preset, PresetFields, pull_command
from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.messages import Adapter, ModelSpec
from chatui.sampling import DEFAULTS, override
from chatui.settings import Settings


def preset_spec(preset: Preset, settings: Settings) -> ModelSpec:
    """Return a preset's spec with the paths of its parts, without the user's settings.

    Raises:
        ChatuiError: it cannot run here, or parts are missing (the command that fetches them is
            named).
    """
    fields = preset.fields
    if fields.lacks:
        raise ChatuiError(say("catalog.cannot_run", name=preset.name, reason=fields.lacks))
    missing = missing_parts(preset, settings)
    if missing:
        raise ChatuiError(why_missing(preset, missing))
    return build_spec(preset.name, str(find_part(preset.base, settings)), preset.fields, settings)


def build_spec(name: str, path: str, fields: PresetFields, settings: Settings) -> ModelSpec:
    """Build the spec of the model at ``path`` from a preset's fields."""

    def path_of(part: Part | None) -> str | None:
        found = find_part(part, settings) if part else None
        return str(found) if found else None

    values = {field: getattr(fields, field) for field in SPEC_FIELDS}
    if fields.context == "auto":
        values["context"] = None
    return ModelSpec(
        name=name,
        path=path,
        **{field: value for field, value in values.items() if value is not None},
        tokenizer=path_of(fields.tokenizer),
        adapters=tuple(
            Adapter(path_of(part) or "", part.scale, part.rank, part.alpha)
            for part in fields.adapters or ()
        ),
        delta=path_of(fields.delta),
        sampling=override(DEFAULTS, fields.sampling or {}),
        dtype=fields.dtype or "auto",
        weights=fields.quantise or "auto",
        notes=(say("catalog.beams", beams=fields.beams),) if (fields.beams or 1) > 1 else (),
    )


def missing_parts(preset: Preset, settings: Settings) -> tuple[Part, ...]:
    """Return the parts of a preset that are not on this disk, or incomplete."""
    weights = (preset.base, preset.fields.delta)
    return tuple(
        part
        for part in preset.parts
        if (path := find_part(part, settings)) is None
        or (part in weights and not part.asset and not _is_model(path))
    )


def _is_model(path: Path) -> bool:
    return has_all_files(path) and (is_file(path) or is_file(path / "config.json"))


def why_missing(preset: Preset, missing: Sequence[Part]) -> str:
    """Return the sentence about a preset's missing parts and the next step; "" without any."""
    if not missing:
        return ""
    if missing[0].asset:
        names = _titles(missing)
        return say("catalog.asset_missing", name=names, path=locations.assets_folder())
    fetched = [part for part in missing if part.on_hub]
    sentences = []
    if fetched:
        words = {"name": preset.name, "command": pull_command(preset.name)}
        sentences += [say("catalog.missing_parts", parts=_titles(fetched), **words)]
    if len(fetched) < len(missing):
        parts = _titles([part for part in missing if not part.on_hub])
        how = preset.fields.assembly or say("catalog.own_part")
        sentences += [say("catalog.missing_local", name=preset.name, parts=parts, how=how)]
    return join_sentences(sentences)


def join_sentences(sentences: Sequence[str]) -> str:
    """Join sentences, with a space between them in English."""
    return ("" if current_language() == "zh" else " ").join(sentences)


def _titles(parts: Sequence[Part]) -> str:
    return ", ".join(part.title for part in parts)
