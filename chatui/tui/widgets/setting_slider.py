"""The fields and sliders for numbers in the settings panel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import MouseDown, MouseEvent
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from chatui.tui.editing import LineInput

SLIDER_RANGES = {
    "temperature": (0.0, 2.0, 0.05),
    "top_k": (0, 100, 1),
    "top_p": (0.05, 1.0, 0.01),
    "min_p": (0.0, 0.5, 0.01),
    "repetition_penalty": (1.0, 2.0, 0.01),
    "presence_penalty": (-2.0, 2.0, 0.1),
    "frequency_penalty": (-2.0, 2.0, 0.1),
    "penalty_decay": (0.0, 1.0, 0.01),
    "no_repeat_ngram_size": (0, 10, 1),
}
"""Setting -> minimum and maximum of its slider, and a step; a typed value may exceed them."""


def step_value(name: str, value: float, steps: float) -> str:
    """Return the value ``steps`` steps away, within the slider's range, as a field's text."""
    least, most, step = SLIDER_RANGES[name]
    # A step from far outside leads to the end of the range; a huge value would overflow.
    value = min(max(value, least - step), most + step)
    nearest = round((value - least) / step + steps) * step + least
    return f"{round(min(max(nearest, least), most), 6):g}"


class NumberField(LineInput):
    """A field for a number; ← and → change it by a step."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "step(-1)", "tui.keys.value_less"),
        Binding("right", "step(1)", "tui.keys.value_more"),
    ]

    def action_step(self, steps: int) -> None:
        """Change the number by ``steps`` steps; a text that is no number counts as the minimum."""
        name, value = self.id or "", parse_number(self.value)
        self.value = step_value(name, SLIDER_RANGES[name][0] if value is None else value, steps)
        self.cursor_position = len(self.value)


class SettingSlider(Widget):
    """A bar that changes with the mouse.

    Attributes:
        value, preset: the value of the conversation and of the preset; None for no number.
    """

    value: reactive[float | None] = reactive(None)
    preset: reactive[float | None] = reactive(None)

    @dataclass
    class Moved(Message):
        """The user moved the slider."""

        name: str
        text: str

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._least, self._most, self._step = SLIDER_RANGES[name]

    def render(self) -> Content:
        at, preset = self._cell(self.value), self._cell(self.preset)
        cells = range(max(self.size.width, 1))
        bar = "".join(
            "●" if cell == at else "┼" if cell == preset else "━" if cell < at else "─"
            for cell in cells
        )
        return Content.assemble((bar[: at + 1], "$primary"), (bar[at + 1 :], "$foreground-muted"))

    def _cell(self, value: float | None) -> int:
        """Return the cell of a value; -1 for None."""
        if value is None:
            return -1
        share = min(max((value - self._least) / (self._most - self._least), 0), 1)
        return round(share * (max(self.size.width, 1) - 1))

    def on_mouse_down(self, event: MouseDown) -> None:
        self.capture_mouse()
        self.on_mouse_move(event)

    def on_mouse_move(self, event: MouseEvent) -> None:
        if self.app.mouse_captured is self:
            share = min(max(event.x / max(self.size.width - 1, 1), 0), 1)
            steps = share * (self._most - self._least) / self._step
            name = self.name or ""
            self.post_message(self.Moved(name, step_value(name, self._least, steps)))

    def on_mouse_up(self) -> None:
        self.release_mouse()


def parse_number(text: str) -> float | None:
    """Return the number in a field; None if its text is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
