"""Find a model's tokenizer, for commands that need no weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chatui.catalog import library, unlisted_models
from chatui.catalog.local_models import find_part, locate
from chatui.catalog.model_files import has_tokenizer, is_file
from chatui.catalog.preset_parts import why_missing
from chatui.catalog.recognise import family_of, read_config
from chatui.catalog.resolving import why_unknown
from chatui.catalog.schema import Preset
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.settings import Settings

CHATGLM_VOCABULARY = "ice_text.model"


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
    preset = library.find(reference) or unlisted_models.preset_with_adapter(reference)
    if preset is not None:
        return _preset_tokenizer(preset, settings)
    path = locate(reference, settings)
    if path is None:
        raise ChatuiError(why_unknown(reference))
    if is_file(path):
        raise ChatuiError(say("engine.not_a_folder", path=path))
    return _folder_tokenizer(reference, path.absolute(), settings)


def _preset_tokenizer(preset: Preset, settings: Settings) -> LocatedTokenizer:
    fields = preset.fields
    wanted = [fields.tokenizer, *reversed(fields.adapters or ()), preset.base]
    parts = [part for part in wanted if part is not None]
    for part in parts:
        folder = find_part(part, settings)
        if folder is not None and _has_tokenizer(folder):
            return LocatedTokenizer(folder, fields.family or "", fields.format, fields.system)
    raise ChatuiError(why_missing(preset, parts[:1]))


def _folder_tokenizer(name: str, folder: Path, settings: Settings) -> LocatedTokenizer:
    if unlisted_models.is_adapter(folder):
        base = unlisted_models.adapter_base(folder)
        if not _has_tokenizer(folder):
            return find_tokenizer(base, settings)
        path = locate(base, settings)
        return LocatedTokenizer(folder, _family_of(path) if path else "")
    if not _has_tokenizer(folder):
        raise ChatuiError(say("engine.no_tokenizer", folder=folder))
    family = _family_of(folder)
    listed = unlisted_models.preset_with_base(name) or unlisted_models.preset_with_base(folder.name)
    if listed is None:
        return LocatedTokenizer(folder, family)
    return LocatedTokenizer(folder, family, listed.fields.format, listed.fields.system)


def _family_of(folder: Path) -> str:
    if is_file(folder / "config.json"):
        return family_of(read_config(folder), folder.name)
    return "chatglm" if is_file(folder / CHATGLM_VOCABULARY) else ""


def _has_tokenizer(folder: Path) -> bool:
    return has_tokenizer(folder) or is_file(folder / CHATGLM_VOCABULARY)
