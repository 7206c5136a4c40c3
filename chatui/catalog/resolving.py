"""Resolve the name of a model: the spec that a backend loads, its tokenizer, or what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from chatui import locations
from chatui.catalog import library
from chatui.catalog.local_models import existing_path, find_part, locate
from chatui.catalog.model_files import CHATGLM_VOCABULARY, has_all_files, has_tokenizer, is_file
from chatui.catalog.schema import SPEC_FIELDS, Part, Preset, is_hub_id, pull_command
from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.messages import Adapter, ModelSpec
from chatui.sampling import DEFAULTS, SamplingSettings, override
from chatui.settings import Settings
from chatui.text import in_quotes, similar_names


def resolve(
    reference: str,
    settings: Settings,
    *,
    format: str | None = None,
    adapters: Sequence[Adapter | str] = (),
    dtype: str | None = None,
    weights: str | None = None,
    device: str | None = None,
    device_map: str | None = None,
    context: int | Literal["auto"] | None = None,
) -> ModelSpec:
    """Return the spec of the model called ``reference``.

    Args:
        reference: a preset, a folder of weights, a file (GGUF, RWKV .pth), or the id of a
            repository in a hub's cache or in a settings' folder.
        format: name of a prompt format that replaces the preset's or the recognised one.
        adapters: applied after the preset's own; paths or hub ids.
        dtype, weights, device, device_map, context: override the settings.

    Raises:
        ChatuiError: the name is unknown (similar names are suggested), a part is missing (the
            command that fetches it is named), or the folder is not a model.
    """
    preset = library.find(reference)
    if preset:
        _check_runs(preset, settings)
    spec = _preset_spec(preset or _unlisted_preset(reference, settings), settings)
    added = tuple(_adapter(adapter, settings) for adapter in adapters)
    set_dtype = settings.dtype if settings.dtype != "auto" else spec.dtype
    set_weights = settings.weights if settings.weights != "auto" else spec.weights
    if context is None and settings.context != "auto":
        # The setting applies to all models; a model with a smaller window gets no note.
        context = min(settings.context, spec.context_limit or settings.context)
    return replace(
        spec,
        format=format or spec.format,
        adapters=spec.adapters + added,
        merge_adapters=settings.merge_adapters,
        sampling=with_users_settings(spec.sampling, settings),
        reply_reserve=settings.reply_reserve or spec.reply_reserve,
        think=spec.think if settings.think == "auto" else settings.think,
        dtype=dtype or set_dtype,
        weights=weights or set_weights,
        weights_required=weights is not None,
        context=spec.context if context is None else None if context == "auto" else context,
        device=device or settings.device,
        device_map=device_map or settings.device_map or None,
    )


def _unlisted_preset(reference: str, settings: Settings) -> Preset:
    # Starts with a preset do not need this import.
    from chatui.catalog.unlisted_models import unlisted_preset

    path = find_path(reference, settings)
    name = path.absolute().resolve().name if existing_path(reference) else reference
    return unlisted_preset(name, path, settings)


def find_path(reference: str, settings: Settings) -> Path:
    """Return the path of a folder, a file or a repository on this disk.

    Raises:
        ChatuiError: there is none; the sentence names the next step.
    """
    path = locate(reference, settings)
    if path is None:
        raise ChatuiError(_why_unknown(reference))
    return path


def _why_unknown(reference: str) -> str:
    """Return the sentence about an unknown reference and the next step."""
    if not reference.strip():
        return say("catalog.no_reference")
    if is_hub_id(reference):
        return say("catalog.not_in_cache", name=reference, command=pull_command(reference))
    if skipped := library.why_skipped(reference):
        return skipped
    if "/" in reference or "\\" in reference:
        return say("catalog.no_such_path", path=in_quotes(reference))
    presets = library.load()
    near = similar_names(reference, [*presets.by_name, *presets.by_alias])
    key = "catalog.unknown_near" if near else "catalog.unknown"
    return say(key, name=in_quotes(reference), names=near)


def _adapter(adapter: Adapter | str, settings: Settings) -> Adapter:
    """Replace the path or hub id of an adapter by its path on this disk."""
    wanted = Adapter(adapter) if isinstance(adapter, str) else adapter
    if not is_hub_id(wanted.path) and locate(wanted.path, settings) is None:
        raise ChatuiError(say("catalog.no_such_adapter", path=in_quotes(wanted.path)))
    return replace(wanted, path=str(find_path(wanted.path, settings)))


def with_users_settings(sampling: SamplingSettings, settings: Settings) -> SamplingSettings:
    """Override ``sampling`` by the user's settings."""
    sampling = override(sampling, settings.sampling)
    if sampling.max_new_tokens is None and settings.max_new_tokens:
        sampling = replace(sampling, max_new_tokens=settings.max_new_tokens)
    return sampling


def _check_runs(preset: Preset, settings: Settings) -> None:
    """Raise ChatuiError if a preset cannot run here, or if parts of it are missing."""
    if lacks := preset.fields.lacks:
        raise ChatuiError(say("catalog.cannot_run", name=preset.name, reason=lacks))
    if missing := missing_parts(preset, settings):
        raise ChatuiError(why_missing(preset, missing))


def _preset_spec(preset: Preset, settings: Settings) -> ModelSpec:
    """Return a preset's spec with the paths of its parts, without the user's settings."""
    fields = preset.fields

    def path_of(part: Part | None) -> str | None:
        found = find_part(part, settings) if part else None
        return str(found) if found else None

    values = {field: getattr(fields, field) for field in SPEC_FIELDS}
    if fields.context == "auto":
        values["context"] = None
    return ModelSpec(
        name=preset.name,
        path=path_of(preset.base) or "",
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


@dataclass(frozen=True)
class LocatedTokenizer:
    """A tokenizer on this disk, with the format of its model.

    Attributes:
        folder: folder of the tokenizer's files.
        family: the model's family; "" if unknown.
        format: the preset's prompt format; None without a preset.
        system: the preset's system prompt; None for the format's own.
    """

    folder: Path
    family: str
    format: str | None = None
    system: str | None = None


def find_tokenizer(reference: str, settings: Settings) -> LocatedTokenizer:
    """Find the tokenizer of a model, whose weights may be missing.

    Args:
        reference: a preset, a folder, or a cached repository; see
            :func:`chatui.catalog.resolve`.

    Raises:
        ChatuiError: there is no such model, or its tokenizer is not on this disk.
    """
    if preset := library.find(reference):
        return _preset_tokenizer(preset, settings)
    path = find_path(reference, settings)
    if is_file(path):
        raise ChatuiError(say("engine.not_a_folder", path=path))
    return _folder_tokenizer(reference, path.absolute(), settings)


def _preset_tokenizer(preset: Preset, settings: Settings) -> LocatedTokenizer:
    fields = preset.fields
    parts = [*filter(None, (fields.tokenizer, *reversed(fields.adapters or ()), preset.base))]
    for part in parts:
        folder = find_part(part, settings)
        if folder is not None and has_tokenizer(folder):
            return LocatedTokenizer(folder, fields.family or "", fields.format, fields.system)
    raise ChatuiError(why_missing(preset, parts[:1]))


def _folder_tokenizer(name: str, folder: Path, settings: Settings) -> LocatedTokenizer:
    from chatui.catalog import unlisted_models
    from chatui.catalog.recognise import family_of, read_config

    model, preset = folder, None
    if unlisted_models.is_adapter(folder):
        base = unlisted_models.adapter_base(folder)
        if not has_tokenizer(folder):
            return find_tokenizer(base, settings)
        model = locate(base, settings) or folder
    elif has_tokenizer(folder):
        preset = library.load().with_base(name) or library.load().with_base(folder.name)
    else:
        raise ChatuiError(say("engine.no_tokenizer", folder=folder))
    if is_file(model / "config.json"):
        family = family_of(read_config(model), model.name)
    else:
        family = "chatglm" if is_file(model / CHATGLM_VOCABULARY) else ""
    format, system = (preset.fields.format, preset.fields.system) if preset else (None, None)
    return LocatedTokenizer(folder, family, format, system)
