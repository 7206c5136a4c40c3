"""Alt+D: the picker of the two or three variants that answer a query side by side."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

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
from chatui.tui.screens.adapter_picker import found_adapters
from chatui.tui.screens.picker import OrderedPicker
from chatui.tui.setting_changes import NO_CHANGES, SettingChanges, parse_setting
from chatui.tui.widgets.pick_list import ListRow, matches

TEMPERATURES = (0.3, 0.7, 1.2)
_ABBREVIATIONS = {"temp": "temperature"}
_SEPARATORS = re.compile(r"[,，;；\s]+")


@dataclass(frozen=True)
class Variant:
    """One way to answer a query.

    Attributes:
        group: "there" (existing replies), "here" (this model), "adapters" or "models".
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


class VariantPicker(OrderedPicker[Variant]):
    """Lists what can answer a query; returns the two or three chosen variants, in their order."""

    MAX_CHOSEN = 3
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle_item", "overview.keys.candidate", priority=True),
        Binding("enter", "choose", "overview.keys.compare_now", priority=True),
        Binding("alt+d", "cancel", "tui.keys.close"),
    ]

    def __init__(
        self,
        query: str,
        changes: SettingChanges,
        versions: tuple[Round, ...] = (),
        beside: Round | None = None,
    ) -> None:
        """
        Args:
            query: the query to answer.
            changes: the conversation's changes of the preset's settings.
            versions: the rounds that answer the query already.
            beside: the one of them that is shown; None for a new query.
        """
        super().__init__(
            say("overview.compare.title", query=one_line(query, 60)),
            say("overview.compare.picker_keys"),
            say("overview.compare.search"),
        )
        self._versions = versions
        self._beside = beside
        self._changes = changes
        self._all: list[Variant] = []

    def on_mount(self) -> None:
        self._all = immediate_variants(self.app.turns.spec, self._changes, self._versions)
        beside = None if self._beside is None else self._beside.id
        ids = [each.existing.id if each.existing else None for each in self._all]
        self.chosen = [self._all[ids.index(beside)]]
        self._find_more()

    @work(group="more")
    async def _find_more(self) -> None:
        """Add adapters, models and servers to the list that is already shown."""
        turns, settings = self.app.turns, self.app.settings
        try:
            found = await asyncio.to_thread(found_adapters, settings, self.app.known_adapters)
            self._all += adapter_variants(turns.spec, self._changes, found)
            self._add_models(await asyncio.to_thread(catalog.list_models, settings))
            # A remote server may take seconds.
            self._add_models(await servers.entries(settings))
        except ChatuiError as error:
            self.app.tell_user(str(error))

    def _add_models(self, entries: Sequence[ModelEntry]) -> None:
        turns = self.app.turns
        known = [variant.title for variant in self._all if variant.group == "models"]
        found = model_variants(turns.spec, turns.start_spec, self._changes, entries)
        self._all += [variant for variant in found if variant.title not in known]
        if self.is_current:
            self._list(self.words)

    async def find(self, words: str) -> None:
        self._list(words)

    def refresh_list(self, highlighted: Variant) -> None:
        self._list(self.words, highlighted)

    def _list(self, words: str, highlighted: Variant | None = None) -> None:
        """List the variants that match, in groups; typed sampling settings come first."""
        highlighted = highlighted or self.highlighted
        own, problem = None, ""
        try:
            own = typed_variant(self.app.turns.spec, self._changes, words)
        except ChatuiError as error:
            problem = str(error)
        found = [
            each
            for each in self._all
            if each in self.chosen or matches(words, each.title, each.reference)
        ]
        if own is not None and own not in found:
            found.insert(0, own)
            highlighted = own
        if highlighted not in found:
            not_chosen = (each for each in found if each not in self.chosen)
            here = (each for each in found if each.group == "here")
            highlighted = next(not_chosen if self._beside is None else here, None)
        rows = [
            ListRow(
                each,
                self.title_row(each, each.title),
                Content.styled(say(f"overview.compare.{each.group}"), "bold $primary"),
            )
            for each in found
        ]
        self.show(rows, say("overview.compare.none"), highlighted)
        if problem:
            self.show_message(problem)

    def choose(self, item: Variant) -> None:
        super().choose(item)
        if item in self.chosen and item not in self._all:
            self._all.insert(len(self._versions), item)
        if len(self.chosen) == self.MAX_CHOSEN:
            self.show_message(say("overview.compare.enough"))

    def action_choose(self) -> None:
        """Compare the chosen variants; a single one is compared with the highlighted one."""
        highlighted = self.highlighted
        if len(self.chosen) < 2 and highlighted is not None and highlighted not in self.chosen:
            self.chosen.append(highlighted)
        if len(self.chosen) > 1:
            self.dismiss(tuple(self.chosen))
        else:
            self.show_message(say("overview.compare.too_few"))
