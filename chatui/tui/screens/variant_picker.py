"""Which two or three answer a query side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from chatui import catalog
from chatui.backends.servers import entries as server_entries
from chatui.catalog import ModelEntry
from chatui.conversation.rounds import Round
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line
from chatui.tui.screens.adapter_picker import found_adapters
from chatui.tui.screens.picker import OrderedPicker, position_mark
from chatui.tui.screens.variants import (
    GROUPS,
    Variant,
    adapter_variants,
    immediate_variants,
    model_variants,
    typed_variant,
)
from chatui.tui.setting_changes import SettingChanges
from chatui.tui.widgets.pick_list import matches

MOST = 3


class VariantPicker(OrderedPicker[Variant, Variant]):
    """Lists who can answer; gives the two or three that were chosen, in their order."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch", "overview.keys.candidate", priority=True),
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
            query: what is to be answered.
            changes: of the conversation's settings.
            versions: the replies to it that are there.
            beside: the one that is looked at.
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
        self._chosen: list[Variant] = []

    def on_mount(self) -> None:
        self._all = immediate_variants(self.app.turns.spec, self._changes, self._versions)
        ids = [None if each.existing is None else each.existing.id for each in self._all]
        looked_at = None if self._beside is None else self._beside.id
        self._chosen = [self._all[ids.index(looked_at)]]
        self._find_more()

    @work(group="more")
    async def _find_more(self) -> None:
        """Adapters, models and servers; the list is there before."""
        turns, settings = self.app.turns, self.app.settings
        adapters = await asyncio.to_thread(found_adapters, settings, self.app.known_adapters)
        pairs = [(found.adapter, found.summary) for found in adapters]
        self._all += adapter_variants(turns.spec, self._changes, pairs)
        try:
            self._add_models(await asyncio.to_thread(catalog.list_models, settings))
            # A server far away may take seconds.
            self._add_models(await server_entries(settings))
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

    def _list(self, words: str, on: Variant | None = None) -> None:
        """List what matches, in groups; a sampling that was typed first."""
        pointed_at = on or self.highlighted
        own, problem = None, ""
        try:
            own = typed_variant(self.app.turns.spec, self._changes, words)
        except ChatuiError as error:
            problem = str(error)
        found = [
            each
            for each in self._all
            if each in self._chosen or matches(words, each.title, each.reference)
        ]
        found.sort(key=lambda each: GROUPS.index(each.group))
        if own is not None and own not in found:
            found.insert(0, own)
            pointed_at = own
        groups = [each.group for each in found]
        headings = {
            groups.index(group): Content.styled(say(f"overview.compare.{group}"), "bold $primary")
            for group in dict.fromkeys(groups)
        }
        rows = [self._row(each) for each in found]
        if pointed_at in found:
            index = found.index(pointed_at)
        else:
            others = (i for i, each in enumerate(found) if each not in self._chosen)
            here = (i for i, each in enumerate(found) if each.group == "here")
            index = next(others if self._beside is None else here, 0)
        self.show(found, rows, index, say("overview.compare.none"), headings)
        if problem:
            self.show_message(problem)

    def _row(self, variant: Variant) -> Content:
        is_chosen = variant in self._chosen
        place = self._chosen.index(variant) + 1 if is_chosen else 0
        return Content.assemble(position_mark(place), (variant.title, "bold" if is_chosen else ""))

    def choose(self, item: Variant) -> None:
        """A click chooses a variant or leaves it out, as the space bar does."""
        if item in self._chosen:
            self._chosen.remove(item)
        elif len(self._chosen) < MOST:
            self._chosen.append(item)
            if item not in self._all:
                self._all.insert(0, item)
        self._list(self.words, item)
        if len(self._chosen) == MOST:
            self.show_message(say("overview.compare.enough"))

    def action_choose(self) -> None:
        """Compare those that are chosen; with one alone, the highlighted one beside it."""
        pointed_at = self.highlighted
        if len(self._chosen) < 2 and pointed_at is not None and pointed_at not in self._chosen:
            self._chosen.append(pointed_at)
        if len(self._chosen) > 1:
            self.dismiss(tuple(self._chosen))
        else:
            self.show_message(say("overview.compare.too_few"))
