"""F3: the picker of the adapters on the loaded base."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from chatui.catalog.adapters import (
    AdapterSummary,
    describe_adapter,
    list_adapters,
    named_adapter,
)
from chatui.catalog.library import adapter_presets_for
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.readable import size
from chatui.settings import Settings
from chatui.text import in_quotes, one_line
from chatui.tui.model_names import adapter_title, display_name
from chatui.tui.screens.picker import WORDS, OrderedPicker
from chatui.tui.screens.questions import LineQuestion
from chatui.tui.widgets.pick_list import ListRow, matches

_KINDS = {"LORA": "LoRA", "P_TUNING_V2": "P-Tuning v2"}

_FEW_ADAPTERS = 4
"""Number of rows below which the list says how to get more adapters."""


def how_to_get_adapters(model: str, reference: str, presets: Sequence[str]) -> str:
    """Return a sentence on how to get an adapter for a base.

    Args:
        presets: names of presets that are an adapter on this base.
    """
    key = "fetch" if presets else "make"
    name = presets[0] if presets else ""
    return say(f"organise.adapters.{key}", model=model, reference=reference, preset=name)


def found_adapters(
    settings: Settings, given: tuple[Adapter, ...] = ()
) -> dict[Adapter, AdapterSummary]:
    """Return the adapters ``given``, then others in the hubs' caches and the settings' folders."""
    paths = {Path(one.path).absolute() for one in given}
    on_disk = (each for each in list_adapters(settings) if Path(each.path).absolute() not in paths)
    return {one: _summary(one) for one in given} | {Adapter(each.path): each for each in on_disk}


def _summary(adapter: Adapter) -> AdapterSummary:
    """Return an adapter's description; only its name if its config cannot be read."""
    title = adapter_title(adapter.path)
    try:
        return describe_adapter(Path(adapter.path), title)
    except (ChatuiError, OSError):
        return AdapterSummary(adapter.path, title)


def adapter_at(words: str) -> Adapter:
    """Return the adapter at ``PATH[@SCALE]``; raises ChatuiError if it cannot be read."""
    adapter = named_adapter(words)
    try:
        describe_adapter(Path(adapter.path))
    except OSError as error:
        message = say("catalog.no_such_adapter", path=in_quotes(adapter.path))
        raise ChatuiError(message) from error
    return adapter


def adapter_details(summary: AdapterSummary) -> str:
    """Return an adapter's kind, rank, base and size."""
    base = one_line(summary.base) or say("tui.adapters.no_base")
    facts = [
        _KINDS.get(summary.kind, summary.kind),
        say("tui.adapters.rank", rank=summary.rank) if summary.rank else "",
        say("tui.adapters.base", base=base),
        size(summary.disk_bytes) if summary.disk_bytes else "",
    ]
    return " · ".join(filter(None, facts))


class AdapterPicker(OrderedPicker[Adapter]):
    """Lists adapters, those in use first; returns the adapters to use, in their order."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "toggle_item", "tui.keys.adapter_toggle", priority=True),
        Binding("alt+up", "order(-1)", "tui.keys.adapter_earlier", priority=True),
        Binding("alt+down", "order(1)", "tui.keys.adapter_later", priority=True),
        Binding("enter", "choose", "tui.keys.adapters_apply", priority=True),
        Binding("ctrl+l", "name", "organise.keys.name_adapter", priority=True),
        Binding("f3", "cancel", "tui.keys.close"),
    ]

    def __init__(self, spec: ModelSpec) -> None:
        """
        Args:
            spec: the base, with the adapters in use.
        """
        self._model, self._reference = (
            one_line(display_name(spec.name), 40),
            one_line(spec.name, 60),
        )
        words = (say(f"tui.adapters.{part}", model=self._model) for part in WORDS)
        super().__init__(*words, message=say("tui.adapters.looking"))
        self._how_to_get = ""
        self.chosen = list(spec.adapters)
        self._found: dict[Adapter, AdapterSummary] | None = None

    async def find(self, words: str) -> None:
        """List the adapters that match; the first call reads the disk in a thread."""
        if self._found is None:
            known = self.app.known_adapters
            self._found = await asyncio.to_thread(
                found_adapters, self.app.settings, tuple(dict.fromkeys((*self.chosen, *known)))
            )
            presets = await asyncio.to_thread(adapter_presets_for, self._reference)
            self._how_to_get = how_to_get_adapters(self._model, self._reference, presets)
        matching = [
            adapter
            for adapter, summary in self._found.items()
            if matches(words, summary.title, summary.base)
        ]
        self._list(sorted(matching, key=self._sort_key), self.highlighted)

    def refresh_list(self, highlighted: Adapter) -> None:
        self._list(self.shown, highlighted)

    def action_order(self, step: int) -> None:
        """Move the highlighted adapter before or after its neighbour."""
        adapter = self.highlighted
        if adapter is None or adapter not in self.chosen:
            return
        here = self.chosen.index(adapter)
        there = here + step
        if 0 <= there < len(self.chosen):
            self.chosen[here], self.chosen[there] = self.chosen[there], self.chosen[here]
            self._list(sorted(self.shown, key=self._sort_key), adapter)

    def action_choose(self) -> None:
        self.dismiss(tuple(self.chosen))

    def _sort_key(self, adapter: Adapter) -> int:
        return self.position(adapter) or len(self.chosen) + 1

    def _list(self, adapters: list[Adapter], highlighted: Adapter | None) -> None:
        self.show([ListRow(each, self._row(each)) for each in adapters], "", highlighted)
        self.show_message(self._how_to_get if len(adapters) < _FEW_ADAPTERS else "")

    def _row(self, adapter: Adapter) -> Content:
        assert self._found is not None
        summary = self._found[adapter]
        return Content.assemble(
            self.title_row(adapter, one_line(summary.title)),
            (f"  ×{adapter.scale:g}" if adapter.scale != 1 else "", "$foreground-muted"),
            (f"\n    {adapter_details(summary)}", "$foreground-muted"),
        )

    @work
    async def action_name(self) -> None:
        """Add an adapter whose path the user types, as ``PATH[@SCALE]``."""
        words = await self.app.push_screen_wait(LineQuestion(say("organise.adapters.name")))
        if not words or self._found is None:
            return
        try:
            named = await asyncio.to_thread(adapter_at, words)
        except ChatuiError as error:
            self.app.tell_user(str(error))
            return
        if named not in self._found:
            self._found = {named: await asyncio.to_thread(_summary, named), **self._found}
        if named not in self.chosen:
            self.chosen.append(named)
        await self.find("")
