"""The schema of preset files, as structs that msgspec checks them against."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.sampling import DEFAULTS, override

Role = Literal["base", "delta", "adapter", "tokenizer"]

NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
"""A preset's name: lower-case letters and digits, with "-" or "." between them."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)

SPEC_FIELDS = (
    *("backend", "family", "format", "context_limit", "context", "reply_reserve"),
    *("system", "think", "stop_strings", "eos_ids"),
)
"""Fields that :class:`chatui.messages.ModelSpec` has under the same names."""


class InvalidValue(ValueError):
    """A value that the schema refuses, with the keys that lead to it from the checked object."""

    def __init__(self, reason: str, *keys: str) -> None:
        super().__init__(reason)
        self.keys = keys


def is_hub_id(text: str) -> bool:
    """True if ``text`` has the form of a hub's "owner/name"."""
    owner, _, name = text.partition("/")
    start_well = not owner.startswith(("-", ".")) and not name.startswith(("-", "."))
    return bool(_HUB_ID.fullmatch(text)) and ".." not in text and start_well


def pull_command(name: str) -> str:
    """Return the shell command that fetches ``name``."""
    return shlex.join(["chatui", "pull", name])


class LocalizedText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A text in both languages; ``str()`` gives the user's."""

    zh: str
    en: str

    def __str__(self) -> str:
        return self.zh if current_language() == "zh" else self.en


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The source of one part of a model (base, adapter, tokenizer, delta).

    Attributes:
        hf: Hugging Face id.
        modelscope: ModelScope id.
        also: Hugging Face ids of copies of the same weights.
        asset: folder among the files shipped with chatui.
        path: folder or file on the user's disk.
        local: name of a folder or file in the settings' ``model_folders``, for parts that no hub
            offers ready to use.
        file: file in the repository, for a part of one file (``.pth``, GGUF, adapter).
        folder: folder in the repository.
        revision: branch, tag or commit; empty for the default.
        scale, rank, alpha: of an adapter, see :class:`chatui.messages.Adapter`.
    """

    hf: str = ""
    modelscope: str = ""
    also: tuple[str, ...] = ()
    asset: str = ""
    path: str = ""
    local: str = ""
    file: str = ""
    folder: str = ""
    revision: str = ""
    scale: float = 1.0
    rank: int | None = None
    alpha: float | None = None

    def __post_init__(self) -> None:
        if not (self.hf or self.modelscope or self.asset or self.path or self.local):
            raise ValueError(say("catalog.schema.no_place"))
        for hub_id in self.hub_ids:
            if not is_hub_id(hub_id):
                raise ValueError(say("catalog.schema.no_hub_id", id=repr(hub_id)))

    @property
    def title(self) -> str:
        """The name in messages."""
        where = self.hf or self.modelscope or self.path or self.local or self.asset
        return "/".join(filter(None, (where, self.folder, self.file)))

    @property
    def hub_ids(self) -> tuple[str, ...]:
        """All ids on the hubs, copies last."""
        return tuple(filter(None, (self.hf, self.modelscope, *self.also)))

    @property
    def on_hub(self) -> bool:
        """Whether a hub has it."""
        return bool(self.hf or self.modelscope)


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes on the hub and in memory, adapters included.

    Attributes:
        parameters: billions.
        download_gb: size of the files to fetch, in 10⁹ bytes.
        fp16_gb, int8_gb, int4_gb: memory of the weights without the KV cache, in 10⁹ bytes; 2, 1.05
            and 0.6 bytes per parameter if the authors give no figure.
    """

    parameters: float
    download_gb: float
    fp16_gb: float
    int8_gb: float = 0.0
    int4_gb: float = 0.0

    def __post_init__(self) -> None:
        if min(self.parameters, self.download_gb, self.fp16_gb) <= 0:
            raise ValueError(say("catalog.schema.sizes"))


class PresetFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of a system or of a variant; None if not stated.

    Attributes:
        aliases: other names for ``--model``; not inherited by variants.
        title: shown name, if it differs from the preset's.
        description: one line.
        backend: entry point name in the group ``chatui.backends``.
        family: e.g. "gpt2", "chatglm", "llama", "bloom", "moss", "rwkv".
        format: name of the prompt format.
        base, tokenizer, delta: parts; the default tokenizer is that of the last adapter that has
            one, else the base's.
        adapters: applied in this order.
        sampling: defaults, by the names of :class:`chatui.sampling.SamplingSettings`.
        stop_strings, eos_ids, context_limit, reply_reserve, dtype: as in
            :class:`chatui.messages.ModelSpec`.
        context: window to use, in tokens, if smaller than ``context_limit``; "auto" and None use
            the largest that fits.
        quantise: quantise the weights while loading.
        system: system prompt; None for the format's own.
        think: whether the model thinks before it answers; None for its template's default.
        markdown: whether replies are shown as Markdown; None counts as true.
        beams: beams of the original's beam search, which chatui replaces by sampling.
        weights: sizes.
        licence: SPDX name, or the authors' name for it.
        source: repository and file of these values.
        assembly: how base, adapters, tokenizer and delta are combined.
        lacks: why chatui cannot run it; None if it can.
    """

    aliases: tuple[str, ...] | None = None
    title: LocalizedText | None = None
    description: LocalizedText | None = None
    backend: str | None = None
    family: str | None = None
    format: str | None = None
    base: Part | None = None
    tokenizer: Part | None = None
    delta: Part | None = None
    adapters: tuple[Part, ...] | None = None
    sampling: Mapping[str, Any] | None = None
    stop_strings: tuple[str, ...] | None = None
    eos_ids: tuple[int, ...] | None = None
    context_limit: int | None = None
    context: int | Literal["auto"] | None = None
    reply_reserve: int | None = None
    dtype: str | None = None
    quantise: Literal["int8", "int4"] | None = None
    system: str | None = None
    think: bool | None = None
    markdown: bool | None = None
    beams: int | None = None
    weights: Weights | None = None
    licence: str | None = None
    source: str | None = None
    assembly: LocalizedText | None = None
    lacks: LocalizedText | None = None

    def __post_init__(self) -> None:
        for name, value in (self.sampling or {}).items():
            try:
                override(DEFAULTS, {name: value})
            except ChatuiError as error:
                raise InvalidValue(str(error).rstrip(".。"), "sampling", name) from error
        for name in ("context_limit", "context"):
            if isinstance(value := getattr(self, name), int) and value <= 0:
                raise InvalidValue(say("catalog.schema.above_0"), name)


class SystemFile(PresetFields, frozen=True, forbid_unknown_fields=True):
    """A preset file: one system with its defaults and variants.

    Attributes:
        name: name of the system, and of the preset of its default variant.
        default: suffix of the default variant; empty if the file's own fields describe a model.
        variants: suffix -> fields; "13b" is ``--model NAME-13b``.
    """

    name: str = ""
    default: str = ""
    variants: Mapping[str, PresetFields] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (self.name, *self.variants):
            if not NAME.fullmatch(name):
                raise ValueError(say("catalog.schema.no_name", name=repr(name)))
        if self.default and self.default not in self.variants:
            raise ValueError(say("catalog.schema.no_variant", name=repr(self.default)))
        if self.variants and not self.default and self.base is None:
            raise ValueError(say("catalog.schema.no_default"))
        for preset in presets_of(self):
            if preset.fields.base is None:
                raise ValueError(say("catalog.schema.no_base", name=preset.name))
            if not preset.fields.format:
                raise ValueError(say("catalog.schema.no_format", name=preset.name))


@dataclass(frozen=True)
class Preset:
    """A variant of a system, with the fields of both.

    Attributes:
        name: value for ``--model``.
        system: name of the system.
        fields: ``base`` and ``format`` are never None.
    """

    name: str
    system: str
    fields: PresetFields

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.fields.aliases or ()

    @property
    def base(self) -> Part:
        assert self.fields.base is not None
        return self.fields.base

    @property
    def base_ids(self) -> set[str]:
        """The base's ids on the hubs, case-folded."""
        return set(map(str.casefold, self.base.hub_ids))

    @property
    def parts_by_role(self) -> tuple[tuple[Role, Part], ...]:
        """The parts with their roles, in the order in which they are assembled."""
        fields = self.fields
        found: tuple[tuple[Role, Part | None], ...] = (
            ("base", fields.base),
            ("delta", fields.delta),
            *(("adapter", part) for part in fields.adapters or ()),
            ("tokenizer", fields.tokenizer),
        )
        return tuple((role, part) for role, part in found if part is not None)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, each once."""
        return tuple(dict.fromkeys(part for _, part in self.parts_by_role))


def presets_of(system: SystemFile) -> tuple[Preset, ...]:
    """Return the presets of a file: the system's own, then each variant's."""
    common = _values(system)
    chosen = system.variants.get(system.default)
    presets = [Preset(system.name, system.name, _merged(common, chosen))]
    common["aliases"] = None
    for suffix, fields in system.variants.items():
        presets.append(Preset(f"{system.name}-{suffix}", system.name, _merged(common, fields)))
    return tuple(presets)


def _merged(common: Mapping[str, Any], variant: PresetFields | None) -> PresetFields:
    """Merge a variant's fields over the system's, and their sampling settings one by one."""
    values = dict(common)
    if variant is not None:
        values |= {name: value for name, value in _values(variant).items() if value is not None}
        values["aliases"] = variant.aliases or common["aliases"]
        if variant.sampling is not None:
            values["sampling"] = {**(common["sampling"] or {}), **variant.sampling}
    return PresetFields(**values)


def _values(fields: PresetFields) -> dict[str, Any]:
    """Return the fields by name, without a file's own ``name``, ``default`` and ``variants``."""
    return {name: getattr(fields, name) for name in PresetFields.__struct_fields__}
