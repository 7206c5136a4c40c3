"""F3: which adapters are on the loaded base, and in which order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.binding import Binding, BindingType
from textual.content import Content

from chatui.catalog.adapters import (
    AdapterSummary,
    adapter_presets_for,
    describe_adapter,
    list_adapters,
    named_adapter,
)
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter
from chatui.readable import size
from chatui.settings import Settings
from chatui.text import one_line
from chatui.tui.model_names import adapter_title
from chatui.tui.screens.picker import OrderedPicker, position_mark
from chatui.tui.widgets.pick_list import matches

_KINDS = {"LORA": "LoRA", "P_TUNING_V2": "P-Tuning v2"}


_FEW = 4
"""So many adapters leave room to say how to get more."""


def how_to_get_adapters(model: str, reference: str, presets: Sequence[str]) -> str:
    """One sentence on how to get an adapter that fits this base.

    Args:
        presets: those that are an adapter on it.
    """
    key = "fetch" if presets else "make"
    name = presets[0] if presets else ""
    return say(f"organise.adapters.{key}", model=model, reference=reference, preset=name)


@dataclass(frozen=True)
class FoundAdapter:
    """An adapter that can be put on.

    Attributes:
        adapter: what a model spec takes.
        summary: what it says of itself.
    """

    adapter: Adapter
    summary: AdapterSummary


def found_adapters(settings: Settings, given: tuple[Adapter, ...] = ()) -> tuple[FoundAdapter, ...]:
    """The adapters ``given``, then those in the hubs' caches and in the settings' folders."""
    named = {Path(one.path).absolute(): FoundAdapter(one, _summary(one)) for one in given}
    on_disk = {
        Path(one.path).absolute(): FoundAdapter(Adapter(one.path), one)
        for one in list_adapters(settings)
    }
    return tuple(
        (named | {path: one for path, one in on_disk.items() if path not in named}).values()
    )


def _summary(adapter: Adapter) -> AdapterSummary:
    """What an adapter says of itself; its name alone where it says nothing readable."""
    title = adapter_title(adapter.path)
    try:
        return describe_adapter(Path(adapter.path), title)
    except (ChatuiError, OSError):
        return AdapterSummary(adapter.path, title)


def _named(words: str) -> FoundAdapter:
    """The adapter that ``PATH[@SCALE]`` names; raises ChatuiError if there is none."""
    adapter = named_adapter(words)
    return FoundAdapter(adapter, describe_adapter(Path(adapter.path), adapter_title(adapter.path)))


def adapter_row(found: FoundAdapter, place: int) -> Content:
    """An adapter's two lines: its place among those that are on, its name, and its base."""
    scale = found.adapter.scale
    return Content.assemble(
        position_mark(place),
        (one_line(found.summary.title), "bold" if place else ""),
        (f"  ×{scale:g}" if scale != 1 else "", "$foreground-muted"),
        (f"\n    {adapter_details(found.summary)}", "$foreground-muted"),
    )


def adapter_details(summary: AdapterSummary) -> str:
    """What kind of adapter it is, for which base, and how large."""
    base = one_line(summary.base) or say("tui.adapters.no_base")
    facts = [
        _KINDS.get(summary.kind, summary.kind),
        say("tui.adapters.rank", rank=summary.rank) if summary.rank else "",
        say("tui.adapters.base", base=base),
        size(summary.disk_bytes) if summary.disk_bytes else "",
    ]
    return " · ".join(filter(None, facts))


class AdapterPicker(OrderedPicker[Adapter, FoundAdapter]):
    """Lists adapters, those that are on first; gives what shall be on, in its order."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "switch", "tui.keys.adapter_toggle", priority=True),
        Binding("alt+up", "order(-1)", "tui.keys.adapter_earlier", priority=True),
        Binding("alt+down", "order(1)", "tui.keys.adapter_later", priority=True),
        Binding("enter", "choose", "tui.keys.adapters_apply", priority=True),
        Binding("ctrl+l", "name", "organise.keys.name_adapter", priority=True),
        Binding("f3", "cancel", "tui.keys.close"),
    ]

    def __init__(
        self,
        settings: Settings,
        model: str,
        on: tuple[Adapter, ...],
        given: tuple[Adapter, ...],
        reference: str = "",
    ) -> None:
        """
        Args:
            model: the base's name.
            on: what is on it now, in its order.
            given: offered beside what is found on the disk.
            reference: what ``--model`` takes for the base.
        """
        super().__init__(
            say("tui.adapters.title", model=one_line(model, 40)),
            say("tui.adapters.keys"),
            say("tui.adapters.search"),
            say("tui.adapters.looking"),
        )
        self._settings = settings
        self._model, self._reference = one_line(model, 40), one_line(reference or model, 60)
        self._how_to_get = ""
        self._given = tuple(dict.fromkeys((*on, *given)))
        self._on = list(on)
        self._found: tuple[FoundAdapter, ...] | None = None

    async def find(self, words: str) -> None:
        """Show what matches; the first time the disk is read, aside."""
        if self._found is None:
            self._found = await asyncio.to_thread(found_adapters, self._settings, self._given)
            presets = await asyncio.to_thread(adapter_presets_for, self._reference)
            self._how_to_get = how_to_get_adapters(self._model, self._reference, presets)
        matching = [
            found
            for found in self._found
            if matches(words, found.summary.title, found.summary.base)
        ]
        matching.sort(key=lambda found: self._place(found) or len(self._on) + 1)
        self._show(matching, self.highlighted)

    def choose(self, item: FoundAdapter) -> None:
        """A click switches an adapter on or off, as the space bar does."""
        if item.adapter in self._on:
            self._on.remove(item.adapter)
        else:
            self._on.append(item.adapter)
        self._show(self.shown, item)

    def action_order(self, step: int) -> None:
        """Put the highlighted adapter on earlier or later than its neighbour."""
        chosen = self.highlighted
        if chosen is None or chosen.adapter not in self._on:
            return
        here = self._on.index(chosen.adapter)
        there = here + step
        if 0 <= there < len(self._on):
            self._on[here], self._on[there] = self._on[there], self._on[here]
            self.shown.sort(key=lambda found: self._place(found) or len(self._on) + 1)
            self._show(self.shown, chosen)

    def action_choose(self) -> None:
        self.dismiss(tuple(self._on))

    def _place(self, found: FoundAdapter) -> int:
        """From 1 if it is on, else 0."""
        return self._on.index(found.adapter) + 1 if found.adapter in self._on else 0

    def _show(self, items: list[FoundAdapter], highlighted: FoundAdapter | None) -> None:
        rows = [adapter_row(found, self._place(found)) for found in items]
        index = items.index(highlighted) if highlighted in items else 0
        self.show(items, rows, index, "")
        self.show_message(self._how_to_get if len(items) < _FEW else "")

    @work
    async def action_name(self) -> None:
        """Put on an adapter whose folder the user names."""
        from chatui.tui.screens.questions import LineQuestion

        words = await self.app.push_screen_wait(LineQuestion(say("organise.adapters.name"), ""))
        if not words or self._found is None:
            return
        try:
            named = await asyncio.to_thread(_named, words.strip())
        except ChatuiError as error:
            self.app.tell_user(str(error))
            return
        self._found = (named, *self._found)
        self._on.append(named.adapter)
        await self.find("")
