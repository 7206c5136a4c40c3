"""Resolve the name of a model into the spec that a backend loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from chatui.catalog import library
from chatui.catalog.local_models import existing_path, find_repository, locate
from chatui.catalog.preset_parts import preset_spec
from chatui.catalog.schema import is_hub_id, pull_command
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.sampling import SamplingSettings, override
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
    if preset is None:
        # Starts with a preset do not need this import.
        from chatui.catalog import unlisted_models

        preset = unlisted_models.preset_with_adapter(reference)
    spec = preset_spec(preset, settings) if preset else _path_spec(reference, settings)
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


def _path_spec(reference: str, settings: Settings) -> ModelSpec:
    from chatui.catalog import unlisted_models

    path = locate(reference, settings)
    if path is None:
        raise ChatuiError(why_unknown(reference))
    name = path.absolute().resolve().name if existing_path(reference) else reference
    return unlisted_models.path_spec(name, path, settings)


def why_unknown(reference: str) -> str:
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
    path = existing_path(wanted.path) or find_repository(wanted.path, settings)
    if path is None:
        if is_hub_id(wanted.path):
            raise ChatuiError(why_unknown(wanted.path))
        raise ChatuiError(say("catalog.no_such_adapter", path=in_quotes(wanted.path)))
    return replace(wanted, path=str(path))


def with_users_settings(sampling: SamplingSettings, settings: Settings) -> SamplingSettings:
    """Override ``sampling`` by the user's settings."""
    sampling = override(sampling, settings.sampling)
    if sampling.max_new_tokens is None and settings.max_new_tokens:
        sampling = replace(sampling, max_new_tokens=settings.max_new_tokens)
    return sampling
