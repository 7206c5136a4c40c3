"""The variants of a comparison: existing replies, models, adapters, sampling settings."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chatui import catalog
from chatui.backends import servers
from chatui.catalog import ModelEntry
from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.sampling import SETTINGS
from chatui.settings import Settings
from chatui.text import one_line
from chatui.tui.comparison import Column
from chatui.tui.model_names import display_name, reply_author, with_adapters
from chatui.tui.setting_changes import NO_CHANGES, SettingChanges, parse_setting

GROUPS = ("there", "here", "adapters", "models")
"""The groups of the list, in its order."""

TEMPERATURES = (0.3, 0.7, 1.2)
_ABBREVIATIONS = {"temp": "temperature"}
_SEPARATORS = re.compile(r"[,，;；\s]+")


@dataclass(frozen=True)
class Variant:
    """One way to answer a query.

    Attributes:
        group: one of ``GROUPS``.
        title: the model, and what is special about it here.
        spec: the model; None if ``reference`` must be resolved first.
        reference: the reference of the model; "" if ``spec`` is given.
        changes: its changes of the preset's settings.
        existing: a round that already has the reply.
    """

    group: str
    title: str
    spec: ModelSpec | None = None
    reference: str = ""
    changes: SettingChanges = NO_CHANGES
    existing: Round | None = field(default=None, compare=False)


def immediate_variants(
    spec: ModelSpec, changes: SettingChanges, versions: Sequence[Round]
) -> list[Variant]:
    """Return the variants that need no disk access: existing versions and the current model.

    Args:
        versions: the versions of the round whose query is compared.
    """
    found = []
    for each in versions:
        place = say("tui.round.version", version=each.version, versions=each.versions)
        words = f"{display_name(each.model)}  {place if each.versions > 1 else ''}"
        found.append(Variant("there", one_line(words), existing=each))
    found.append(Variant("here", _title(spec), spec, changes=changes))
    samplings: list[dict[str, float | int | bool]] = [
        {"seed": random.randrange(1_000_000)},
        {"greedy": True},
        *({"temperature": value} for value in TEMPERATURES),
    ]
    return found + [sampled_variant(spec, changes, values) for values in samplings]


def _title(spec: ModelSpec) -> str:
    return one_line(display_name(reply_author(spec)))


def sampled_variant(
    spec: ModelSpec, changes: SettingChanges, values: dict[str, float | int | bool]
) -> Variant:
    """Return the current model with other sampling settings.

    Raises:
        ChatuiError: a value is wrong.
    """
    for name, value in values.items():
        changes = changes.with_setting(name, value, spec.sampling)
    how = ", ".join(
        name if value is True else f"{name} {value:g}" if name != "seed" else f"{name} {value}"
        for name, value in values.items()
    )
    return Variant("here", f"{_title(spec)} · {how}", spec, changes=changes)


def typed_variant(spec: ModelSpec, changes: SettingChanges, words: str) -> Variant | None:
    """Parse sampling settings such as ``temp=0.3,top_p=0.9``; None if ``words`` are none.

    Raises:
        ChatuiError: a value is wrong.
    """
    values: dict[str, float | int | bool] = {}
    for part in filter(None, _SEPARATORS.split(words)):
        name, _, value = part.partition("=")
        name = _ABBREVIATIONS.get(name, name)
        if not value or name not in SETTINGS or SETTINGS[name].kind not in (int, float):
            return None
        values[name] = parse_setting(name, value)
    return sampled_variant(spec, changes, values) if values else None


def adapter_variants(
    spec: ModelSpec, changes: SettingChanges, adapters: Iterable[Adapter]
) -> list[Variant]:
    """Return the base with each adapter alone, and without adapters if it has some."""
    if spec.backend != "local":
        return []
    sets: list[tuple[Adapter, ...]] = [()] if spec.adapters else []
    sets += [(adapter,) for adapter in adapters if (adapter,) != spec.adapters]
    specs = [with_adapters(spec, each) for each in sets]
    return [Variant("adapters", _title(each), each, changes=changes) for each in specs]


def model_variants(
    current: ModelSpec, first: ModelSpec, changes: SettingChanges, entries: Iterable[ModelEntry]
) -> Iterator[Variant]:
    """Yield the other usable models, on this machine and on servers.

    Args:
        first: the model that the app was started with, which may be in no list.
    """
    if first != current:
        yield Variant("models", _title(first), first, changes=changes)
    for entry in entries:
        if entry.usable and entry.reference not in (current.name, current.path, first.name):
            title, reference = one_line(entry.title), entry.reference
            yield Variant("models", title, reference=reference, changes=changes)


async def make_column(variant: Variant, settings: Settings) -> Column:
    """Return the column of a variant; it says why if the model cannot be resolved."""
    if variant.existing is not None:
        return Column(variant.title, existing=variant.existing)
    spec = variant.spec
    try:
        if spec is None:
            spec = servers.resolve(variant.reference, settings) or await asyncio.to_thread(
                catalog.resolve, variant.reference, settings
            )
    except ChatuiError as error:
        return Column(variant.title, problem=str(error))
    return Column(variant.title, spec, variant.changes)
