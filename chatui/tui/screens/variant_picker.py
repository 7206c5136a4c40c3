"""Alt+D: the picker of the two or three variants that answer a query side by side."""

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
from chatui.tui.screens.picker import OrderedPicker
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


class VariantPicker(OrderedPicker[Variant, Variant]):
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
            adapters = [each.adapter for each in found]
            self._all += adapter_variants(turns.spec, self._changes, adapters)
            self._add_models(await asyncio.to_thread(catalog.list_models, settings))
            # A remote server may take seconds.
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
        found.sort(key=lambda each: GROUPS.index(each.group))
        if own is not None and own not in found:
            found.insert(0, own)
            highlighted = own
        groups = [each.group for each in found]
        headings = {
            groups.index(group): Content.styled(say(f"overview.compare.{group}"), "bold $primary")
            for group in dict.fromkeys(groups)
        }
        rows = [self.title_row(each, each.title) for each in found]
        if highlighted in found:
            index = found.index(highlighted)
        else:
            not_chosen = (i for i, each in enumerate(found) if each not in self.chosen)
            here = (i for i, each in enumerate(found) if each.group == "here")
            index = next(not_chosen if self._beside is None else here, 0)
        self.show(found, rows, index, say("overview.compare.none"), headings)
        if problem:
            self.show_message(problem)

    def choose(self, item: Variant) -> None:
        super().choose(item)
        if item in self.chosen and item not in self._all:
            self._all.insert(0, item)
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
