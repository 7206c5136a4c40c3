"""The fields and sliders for numbers in the settings panel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from textual.content import Content
from textual.events import MouseDown, MouseMove, MouseUp
from textual.message import Message
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

    def action_cursor_left(self, select: bool = False) -> None:
        self.step(-1)

    def action_cursor_right(self, select: bool = False) -> None:
        self.step(1)

    def step(self, steps: int) -> None:
        """Change the number by ``steps`` steps; a text that is no number counts as the minimum."""
        name = self.id or ""
        value = parse_number(self.value)
        self.value = step_value(name, SLIDER_RANGES[name][0] if value is None else value, steps)
        self.cursor_position = len(self.value)


class SettingSlider(Widget):
    """A bar that shows a value and the preset's value, and changes with the mouse."""

    @dataclass
    class Moved(Message):
        """The user moved the slider."""

        name: str
        text: str

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self._setting = name
        self._value: float | None = None
        self._preset: float | None = None

    def show(self, text: str, preset: str) -> None:
        """Show the texts of the field and of the preset."""
        self._value, self._preset = parse_number(text), parse_number(preset)
        self.refresh()

    def render(self) -> Content:
        cells = max(self.size.width, 1)
        at = self._cell(self._value)
        bar = ["━" if at is not None and cell < at else "─" for cell in range(cells)]
        preset = self._cell(self._preset)
        if preset is not None:
            bar[preset] = "┼"
        if at is not None:
            bar[at] = "●"
        filled = 0 if at is None else at + 1
        return Content.assemble(
            Content.styled("".join(bar[:filled]), "$primary"),
            Content.styled("".join(bar[filled:]), "$foreground-muted"),
        )

    def _cell(self, value: float | None) -> int | None:
        if value is None:
            return None
        least, most, _ = SLIDER_RANGES[self._setting]
        share = min(max((value - least) / (most - least), 0), 1)
        return round(share * (max(self.size.width, 1) - 1))

    def on_mouse_down(self, event: MouseDown) -> None:
        self.capture_mouse()
        self._move_to(event.x)

    def on_mouse_move(self, event: MouseMove) -> None:
        if self.app.mouse_captured is self:
            self._move_to(event.x)

    def on_mouse_up(self, event: MouseUp) -> None:
        self.release_mouse()

    def _move_to(self, cell: int) -> None:
        least, most, step = SLIDER_RANGES[self._setting]
        share = min(max(cell / max(self.size.width - 1, 1), 0), 1)
        text = step_value(self._setting, least, share * (most - least) / step)
        self.post_message(self.Moved(self._setting, text))


def parse_number(text: str) -> float | None:
    """Return the number in a field; None if its text is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
