"""What can answer a query side by side: the replies that are there, models, adapters, samplings."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from chatui import catalog
from chatui.backends import servers
from chatui.catalog import ModelEntry
from chatui.catalog.adapters import AdapterSummary
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
"""In the order in which they are listed."""

TEMPERATURES = (0.3, 0.7, 1.2)
_SHORT = {"temp": "temperature"}
_BETWEEN = re.compile(r"[,，;；\s]+")


@dataclass(frozen=True)
class Variant:
    """One that can be chosen.

    Attributes:
        group: one of ``GROUPS``.
        title: who replies, and how.
        spec: the model, if it is known without looking it up.
        reference: of the model, if it is not.
        changes: of the conversation's settings.
        existing: a round that has the reply already.
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
    """Those that need no look at the disk: the versions that are there, and the model that answers.

    Args:
        versions: of the round whose query is compared.
    """
    found = []
    for each in versions:
        place = say("tui.round.version", version=each.version, versions=each.versions)
        words = f"{display_name(each.model)}  {place if each.versions > 1 else ''}"
        found.append(Variant("there", one_line(words), existing=each))
    name = one_line(display_name(reply_author(spec)))
    found.append(Variant("here", name, spec, changes=changes))
    for values in _samplings(changes):
        found.append(sampled_variant(spec, changes, values))
    return found


def _samplings(changes: SettingChanges) -> Iterator[dict[str, float | int | bool]]:
    yield {"seed": random.randrange(1_000_000)}
    yield {"greedy": True}
    yield from ({"temperature": value} for value in TEMPERATURES)


def sampled_variant(
    spec: ModelSpec, changes: SettingChanges, values: dict[str, float | int | bool]
) -> Variant:
    """The model that answers, sampled otherwise.

    Raises:
        ChatuiError: a value is wrong.
    """
    for name, value in values.items():
        changes = changes.with_setting(name, value, spec.sampling)
    how = ", ".join(
        name if value is True else f"{name} {value:g}" if name != "seed" else f"{name} {value}"
        for name, value in values.items()
    )
    title = f"{one_line(display_name(reply_author(spec)))} · {how}"
    return Variant("here", title, spec, changes=changes)


def typed_variant(spec: ModelSpec, changes: SettingChanges, words: str) -> Variant | None:
    """The sampling that was typed, as ``temp=0.3,top_p=0.9``; None if it is none.

    Raises:
        ChatuiError: a value is wrong.
    """
    values: dict[str, float | int | bool] = {}
    for part in filter(None, _BETWEEN.split(words)):
        name, _, value = part.partition("=")
        name = _SHORT.get(name, name)
        if not value or name not in SETTINGS or SETTINGS[name].kind not in (int, float):
            return None
        values[name] = parse_setting(name, value)
    return sampled_variant(spec, changes, values) if values else None


def adapter_variants(
    spec: ModelSpec, changes: SettingChanges, found: Iterable[tuple[Adapter, AdapterSummary]]
) -> list[Variant]:
    """The base with each adapter alone, and without any if it has some."""
    if spec.backend != "local":
        return []
    sets = [(adapter,) for adapter, _ in found if (adapter,) != spec.adapters]
    others = [with_adapters(spec, each) for each in ([()] if spec.adapters else []) + sets]
    return [
        Variant("adapters", one_line(display_name(reply_author(each))), each, changes=changes)
        for each in others
    ]


def model_variants(
    current: ModelSpec, first: ModelSpec, changes: SettingChanges, entries: Iterable[ModelEntry]
) -> Iterator[Variant]:
    """The other models that run here or on servers, with the conversation's settings."""
    if first != current:
        yield Variant("models", one_line(display_name(reply_author(first))), first, changes=changes)
    for entry in entries:
        if entry.usable and entry.reference not in (current.name, current.path, first.name):
            title, reference = one_line(entry.title), entry.reference
            yield Variant("models", title, reference=reference, changes=changes)


async def make_column(variant: Variant, settings: Settings) -> Column:
    """What a variant is as a column; one that cannot be had says why in it."""
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
