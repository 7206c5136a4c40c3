"""Small questions in the middle of the screen."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from chatui.locales import say
from chatui.text import one_line
from chatui.tui.editing import LineInput


class YesNoQuestion(ModalScreen[bool]):
    """A question that only ``y`` says yes to."""

    CSS_PATH = "questions.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "tui.keys.yes"),
        Binding("n,escape,enter", "dismiss(False)", "tui.keys.no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_subtitle = say("tui.questions.yes_no")
            yield Static(self._question, markup=False)


class LineQuestion(ModalScreen[str | None]):
    """A question for one line of text."""

    CSS_PATH = "questions.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "answer", "tui.keys.ok", priority=True),
        Binding("escape", "dismiss(None)", "tui.keys.close"),
    ]

    def __init__(self, question: str, value: str) -> None:
        super().__init__()
        self._question = question
        self._value = one_line(value, 1000)

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_subtitle = say("tui.questions.line")
            yield Static(self._question, markup=False)
            yield LineInput(self._value)

    def on_mount(self) -> None:
        self.query_one(Input).cursor_blink = False

    def action_answer(self) -> None:
        self.dismiss(self.query_one(Input).value)
