"""The schema of preset files.

The structs are the schema: msgspec checks against them what users write and what we ship.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
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


AS_IN_SPEC = (
    *("backend", "family", "format", "context_limit", "context", "reply_reserve"),
    *("system", "think", "stop_strings", "eos_ids"),
)
"""Facts that :class:`chatui.messages.ModelSpec` has under the same names."""


class WrongValue(ValueError):
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


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The facts of a system or of a variant; None if they are not stated.

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
        source: repository and file that these facts were read from.
        assembly: how base, adapters, tokenizer and delta go together.
        lacks: the reason why chatui cannot run it; None if it can.
    """

    aliases: tuple[str, ...] | None = None
    title: Words | None = None
    description: Words | None = None
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
    assembly: Words | None = None
    lacks: Words | None = None

    def __post_init__(self) -> None:
        for name, value in (self.sampling or {}).items():
            try:
                overridden(DEFAULTS, {name: value})
            except ChatuiError as error:
                raise WrongValue(str(error).rstrip(".。"), "sampling", name) from error
        for name in ("context_limit", "context"):
            if isinstance(value := getattr(self, name), int) and value <= 0:
                raise WrongValue(say("catalog.schema.above_0"), name)


class SystemFile(Facts, frozen=True, forbid_unknown_fields=True):
    """A file of the catalog: one system, its defaults, and its variants.

    Attributes:
        name: the system's key; the preset of this name is the default variant.
        default: the variant that the bare name means; empty if the bare name has its own facts.
        variants: by the suffix of their names: "13b" is ``--model NAME-13b``.
    """

    name: str = ""
    default: str = ""
    variants: Mapping[str, Facts] = {}

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
            if preset.facts.base is None:
                raise ValueError(say("catalog.schema.no_base", name=preset.name))
            if not preset.facts.format:
                raise ValueError(say("catalog.schema.no_format", name=preset.name))


@dataclass(frozen=True)
class Preset:
    """An entry of the catalog, ready to be resolved: a system's facts and its variant's.

    Attributes:
        name: what ``--model`` takes.
        system: the name of the file's system.
        facts: all that is known; ``base`` and ``format`` are always there.
    """

    name: str
    system: str
    facts: Facts

    @property
    def aliases(self) -> tuple[str, ...]:
        return self.facts.aliases or ()

    @property
    def base(self) -> Part:
        assert self.facts.base is not None
        return self.facts.base

    @property
    def roles(self) -> tuple[tuple[Role, Part], ...]:
        """The parts with what each is for, in the order in which they are put together."""
        facts = self.facts
        adapters: Iterable[tuple[Role, Part]] = (("adapter", part) for part in facts.adapters or ())
        found: tuple[tuple[Role, Part | None], ...] = (
            ("base", facts.base),
            ("delta", facts.delta),
            *adapters,
            ("tokenizer", facts.tokenizer),
        )
        return tuple((role, part) for role, part in found if part is not None)

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, each once."""
        return tuple(dict.fromkeys(part for _, part in self.roles))


def presets_of(system: SystemFile) -> tuple[Preset, ...]:
    """The bare name's preset first, then each variant's."""
    common = _said(system)
    chosen = system.variants.get(system.default)
    presets = [Preset(system.name, system.name, _merged(common, chosen))]
    common["aliases"] = None
    for suffix, facts in system.variants.items():
        presets.append(Preset(f"{system.name}-{suffix}", system.name, _merged(common, facts)))
    return tuple(presets)


def _merged(common: Mapping[str, Any], variant: Facts | None) -> Facts:
    """The variant's facts over the system's; their sampling settings are merged one by one."""
    values = dict(common)
    if variant is not None:
        values |= {name: value for name, value in _said(variant).items() if value is not None}
        values["aliases"] = variant.aliases or common["aliases"]
        if variant.sampling is not None:
            values["sampling"] = {**(common["sampling"] or {}), **variant.sampling}
    return Facts(**values)


def _said(facts: Facts) -> dict[str, Any]:
    """The facts by name, those of a system's file without its variants."""
    return {name: getattr(facts, name) for name in Facts.__struct_fields__}
