"""The schema of preset files.

The structs are the schema: msgspec checks against them what users write and what we ship.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.sampling import DEFAULTS, overridden

Role = Literal["base", "delta", "adapter", "tokenizer"]

NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
"""Presets' names can be typed anywhere: small letters, digits, "-" and "." between them."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


SPEC_FIELDS = (
    *("backend", "family", "format", "context_limit", "context", "reply_reserve"),
    *("system", "think", "stop_strings", "eos_ids"),
)
"""Fields that :class:`chatui.messages.ModelSpec` has under the same names."""


class InvalidValue(ValueError):
    """What is wrong, and the keys below the checked object that lead to it."""

    def __init__(self, reason: str, *keys: str) -> None:
        super().__init__(reason)
        self.keys = keys


def is_hub_id(text: str) -> bool:
    """Whether ``text`` could be a hub's "owner/name"."""
    owner, _, name = text.partition("/")
    start_well = not owner.startswith(("-", ".")) and not name.startswith(("-", "."))
    return bool(_HUB_ID.fullmatch(text)) and ".." not in text and start_well


def pull_command(name: str) -> str:
    """The command that fetches ``name``, as it is typed."""
    return shlex.join(["chatui", "pull", name])


class LocalizedText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The same in both languages; as a string, in the user's."""

    zh: str
    en: str

    def __str__(self) -> str:
        return self.zh if current_language() == "zh" else self.en


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The source of one part of a model (base, adapter, tokenizer, delta).

    Attributes:
        hf: Hugging Face id.
        modelscope: ModelScope id.
        also: Hugging Face ids of copies of the same weights by others.
        asset: folder among the files that ship with the program.
        path: folder or file on the user's disk.
        local: name of a folder or file in the settings' ``model_folders``, for parts that no hub
            offers ready to use.
        file: the one file of the repository that is the part (a ``.pth``, a GGUF, an adapter).
        folder: the folder of the repository that holds the part.
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
        """How a sentence calls it."""
        where = self.hf or self.modelscope or self.path or self.local or self.asset
        return "/".join(filter(None, (where, self.folder, self.file)))

    @property
    def hub_ids(self) -> tuple[str, ...]:
        """Its ids on the hubs, those of copies by others last."""
        return tuple(filter(None, (self.hf, self.modelscope, *self.also)))

    @property
    def on_hub(self) -> bool:
        """Whether it can be fetched."""
        return bool(self.hf or self.modelscope)


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sizes on the hub and in memory, adapters included.

    Attributes:
        parameters: in billions.
        download_gb: bytes of the files to fetch, in 10⁹.
        fp16_gb, int8_gb, int4_gb: bytes of memory that the weights take, in 10⁹, without the cache
            of a conversation; 2, 1.05 and 0.6 bytes a parameter where the authors give no figure.
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
    """The fields of a system or of a variant; None if they are not stated.

    Attributes:
        aliases: other names that ``--model`` takes; a variant does not inherit them.
        title: shown beside the name, if the name alone says too little.
        description: one line.
        backend: entry point name in the group ``chatui.backends``.
        family: e.g. "gpt2", "chatglm", "llama", "bloom", "moss", "rwkv".
        format: name of the prompt format.
        base, tokenizer, delta: parts; the tokenizer is the last adapter's or the base's where
            none is named.
        adapters: put on in this order.
        sampling: defaults, by the names of :class:`chatui.sampling.SamplingSettings`.
        stop_strings, eos_ids, context_limit, reply_reserve, dtype: as in
            :class:`chatui.messages.ModelSpec`.
        context: the window that is used, in tokens, if it is smaller than that; "auto" or None
            takes as many as fit.
        quantise: the weights are quantised while they are read.
        system: system prompt, if it is not the format's own.
        think: whether the model thinks before it answers; None leaves it to its template.
        markdown: whether replies are shown as Markdown; false for verse, and None for all others.
        beams: number of beams of the original's beam search; chatui samples instead.
        weights: sizes.
        licence: SPDX name, or what the authors call it.
        source: repository and file that these fields were read from.
        assembly: how base, adapters, tokenizer and delta go together.
        lacks: the reason why chatui cannot run it; None if it can.
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
                overridden(DEFAULTS, {name: value})
            except ChatuiError as error:
                raise InvalidValue(str(error).rstrip(".。"), "sampling", name) from error
        for name in ("context_limit", "context"):
            if isinstance(value := getattr(self, name), int) and value <= 0:
                raise InvalidValue(say("catalog.schema.above_0"), name)


class SystemFile(PresetFields, frozen=True, forbid_unknown_fields=True):
    """A file of the catalog: one system, its defaults, and its variants.

    Attributes:
        name: the system's key; the preset of this name is the default variant.
        default: the variant that the bare name means; empty if the bare name has its own fields.
        variants: by the suffix of their names: "13b" is ``--model NAME-13b``.
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
    """An entry of the catalog, ready to be resolved: a system's fields and its variant's.

    Attributes:
        name: what ``--model`` takes.
        system: the name of the file's system.
        fields: all that is known; ``base`` and ``format`` are always there.
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
    def parts_by_role(self) -> tuple[tuple[Role, Part], ...]:
        """The parts with what each is for, in the order in which they are put together."""
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
    """The bare name's preset first, then each variant's."""
    common = _said(system)
    chosen = system.variants.get(system.default)
    presets = [Preset(system.name, system.name, _merged(common, chosen))]
    common["aliases"] = None
    for suffix, fields in system.variants.items():
        presets.append(Preset(f"{system.name}-{suffix}", system.name, _merged(common, fields)))
    return tuple(presets)


def _merged(common: Mapping[str, Any], variant: PresetFields | None) -> PresetFields:
    """The variant's fields over the system's; their sampling settings are merged one by one."""
    values = dict(common)
    if variant is not None:
        values |= {name: value for name, value in _said(variant).items() if value is not None}
        values["aliases"] = variant.aliases or common["aliases"]
        if variant.sampling is not None:
            values["sampling"] = {**(common["sampling"] or {}), **variant.sampling}
    return PresetFields(**values)


def _said(fields: PresetFields) -> dict[str, Any]:
    """The fields by name, those of a system's file without its variants."""
    return {name: getattr(fields, name) for name in PresetFields.__struct_fields__}
