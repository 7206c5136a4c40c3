"""Alt+S: the panel for the settings of the conversation."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.events import MouseDown, MouseEvent
from textual.reactive import reactive
from textual.widget import Widget
from textual.widgets import Input, Static

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.sampling import SETTINGS
from chatui.text import one_line
from chatui.tui.editing import LineInput
from chatui.tui.setting_changes import SettingChanges, parse_setting
from chatui.tui.turn import Turns
from chatui.tui.widgets.key_line import KeyLine
from chatui.tui.widgets.side_panel import SidePanel

STOPS, WINDOW = "stop_strings", "window"
_POLL_SECONDS = 0.5

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


class SystemRow(Static, can_focus=True):
    """The system prompt in one line; Enter or a click opens it in the query box."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.edit_system", "tui.keys.edit_system")
    ]

    async def on_click(self) -> None:
        await self.run_action("screen.edit_system")


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

    def __init__(self, field: NumberField) -> None:
        """
        Args:
            field: the field of the same setting, which the mouse changes.
        """
        super().__init__(name=field.id)
        self._field = field
        self._least, self._most, self._step = SLIDER_RANGES[field.id or ""]

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
            self._field.focus()
            self._field.value = step_value(self.name or "", self._least, steps)

    def on_mouse_up(self) -> None:
        self.release_mouse()


class SettingsPanel(SidePanel, VerticalScroll, can_focus=False):
    """One field per setting; a change takes effect with the next reply."""

    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "field(-1)", "tui.keys.field_before"),
        Binding("down", "field(1)", "tui.keys.field_after"),
        Binding("alt+z", "to_preset", "tui.keys.to_preset"),
        Binding("escape", "leave", "tui.keys.close"),
    ]

    footer_keys = "overview.footer.panel"

    def __init__(self, turns: Turns) -> None:
        super().__init__()
        self._turns = turns
        self._shown: tuple[SettingChanges, ModelSpec] | None = None

    def compose(self) -> ComposeResult:
        yield Static(say("tui.panel.title"), classes="title", markup=False)
        yield Static(classes="label", id="label-system", markup=False)
        yield SystemRow(classes="system", markup=False)
        usual = [name for name, about in SETTINGS.items() if about.metavar is not None]
        for name in (*usual, WINDOW, STOPS, *(each for each in SETTINGS if each not in usual)):
            yield Static(classes="label", id=f"label-{name}", markup=False)
            if name in SLIDER_RANGES:
                with Horizontal():
                    yield (field := NumberField(id=name))
                    yield SettingSlider(field)
            else:
                yield LineInput(id=name)
        yield Static(classes="problem", markup=False)
        yield Static(say("tui.panel.save"), classes="hint", markup=False)
        yield KeyLine(say(self.footer_keys))

    def on_mount(self) -> None:
        self.set_interval(_POLL_SECONDS, self.refresh_fields)
        self.refresh_fields()
        self.query(LineInput).first().focus()

    def refresh_fields(self) -> None:
        """Update all fields but the focused one."""
        changes, spec = now = (self._turns.current.changes, self._turns.spec)
        if now == self._shown:
            return
        self._shown = now
        self._label("system", one_line(spec.system or "", 40), changes.system is not None)
        system = spec.system if changes.system is None else changes.system
        words = one_line(system or "", 200) or say("tui.panel.no_system")
        self.query_one(SystemRow).update(Content(words))
        for field in self.query(LineInput):
            name = field.id or ""
            text, preset = field_text(name, changes, spec), preset_text(name, spec)
            self._label(name, preset, text != preset)
            if not field.has_focus and field.value != text:
                with self.prevent(Input.Changed):
                    field.value = text
        for slider in self.query(SettingSlider):
            name = slider.name or ""
            slider.value = parse_number(field_text(name, changes, spec))
            slider.preset = parse_number(preset_text(name, spec))

    def _label(self, name: str, preset: str, changed: bool) -> None:
        words = name if name in SETTINGS else say(f"tui.panel.{name}")
        about = say(f"cli.option.{name}") if name in SETTINGS else ""
        if changed:
            about = say("tui.panel.preset", value=preset or say("tui.command.unset"))
        style = "bold $accent" if changed else "$foreground"
        label = Content.assemble((words, style), (about and f"  {about}", "$text-muted"))
        self.query_one(f"#label-{name}", Static).update(label)

    @on(Input.Changed)
    def _on_field_changed(self, event: Input.Changed) -> None:
        event.stop()
        name, current, problem = event.input.id or "", self._turns.current, ""
        try:
            current.changes = with_field(name, event.value, current.changes, self._turns.spec)
        except ChatuiError as error:
            problem = str(error)
        event.input.set_class(bool(problem), "-wrong")
        self.query_one(".problem", Static).update(Content(problem))
        self.refresh_fields()

    @on(Input.Submitted)
    def _on_field_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.action_field(1)

    def action_to_preset(self) -> None:
        """Reset the focused setting to the preset's value."""
        field, current = self.screen.focused, self._turns.current
        if isinstance(field, SystemRow):
            current.changes = replace(current.changes, system=None)
        elif isinstance(field, LineInput):
            field.value = preset_text(field.id or "", self._turns.spec)
        self.refresh_fields()

    def action_field(self, step: int) -> None:
        fields = [self.query_one(SystemRow), *self.query(LineInput)]
        focused = self.screen.focused
        place = fields.index(focused) + step if focused in fields else 0
        fields[place % len(fields)].focus()


def step_value(name: str, value: float, steps: float) -> str:
    """Return the value ``steps`` steps away, within the slider's range, as a field's text."""
    least, most, step = SLIDER_RANGES[name]
    # A step from far outside leads to the end of the range; a huge value would overflow.
    value = min(max(value, least - step), most + step)
    nearest = round((value - least) / step + steps) * step + least
    return f"{round(min(max(nearest, least), most), 6):g}"


def parse_number(text: str) -> float | None:
    """Return the number in a field; None if its text is no finite number."""
    with suppress(ValueError):
        if math.isfinite(value := float(text)):
            return value
    return None


def preset_text(name: str, spec: ModelSpec) -> str:
    """Return a field's text for the preset's value."""
    return "" if name in (STOPS, WINDOW) else _as_text(getattr(spec.sampling, name))


def field_text(name: str, changes: SettingChanges, spec: ModelSpec) -> str:
    """Return a field's text for the conversation's value."""
    if name == STOPS:
        return " | ".join(changes.stop_strings).replace("\n", "\\n")
    if name == WINDOW:
        return _as_text(changes.window)
    return _as_text(changes.sampling.get(name, getattr(spec.sampling, name)))


def with_field(name: str, text: str, changes: SettingChanges, spec: ModelSpec) -> SettingChanges:
    """Return ``changes`` with the value of a field; an empty field means the preset's value.

    Raises:
        ChatuiError: the text is not a valid value of the setting.
    """
    if name == STOPS:
        stops = (stop.strip(" ") for stop in text.replace("\\n", "\n").split("|"))
        return replace(changes, stop_strings=tuple(filter(None, stops)))
    text = text.strip()
    if name == WINDOW:
        return replace(changes, window=_window(text) if text else None)
    value = _value(name, text) if text else getattr(spec.sampling, name)
    return changes.with_setting(name, value, spec.sampling)


def _window(text: str) -> int:
    setting = SETTINGS["max_new_tokens"]
    with suppress(ValueError):
        if setting.allows(window := int(text)):
            return window
    values = {"name": WINDOW, "value": one_line(text, 40), "range": setting.range}
    raise ChatuiError(say("settings.out_of_range_key", **values))


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _value(name: str, text: str) -> Any:
    kind = SETTINGS[name].kind
    if kind is str:
        return text
    if kind is bool:
        # The setting's validation refuses any other text.
        return {"on": True, "off": False}.get(text.casefold(), text)
    return parse_setting(name, text)
