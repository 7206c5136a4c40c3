"""Dialogs that ask the user one question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import one_line, plain_text
from chatui.tui.editing import LineInput
from chatui.tui.widgets.fetch_bar import Download, FetchBar, prepare_download
from chatui.tui.widgets.key_line import KeyLine

if TYPE_CHECKING:
    from chatui.catalog import ModelEntry
    from chatui.tui.turns_app import TurnsApp


class YesNoQuestion(ModalScreen[bool]):
    """A yes-or-no question; only ``y`` means yes."""

    CSS_PATH = "questions.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "tui.keys.yes"),
        Binding("n,escape,enter", "dismiss(False)", "tui.keys.no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False)
            yield KeyLine(say("tui.questions.yes_no"))


class LineQuestion(ModalScreen[str | None]):
    """A question that is answered with one line of text, without blanks around it."""

    CSS_PATH = "questions.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "answer", "tui.keys.ok", priority=True),
        Binding("escape", "dismiss(None)", "tui.keys.close"),
    ]

    def __init__(self, question: str, value: str = "") -> None:
        super().__init__()
        self._question = question
        self._value = one_line(value, 1000)

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, markup=False)
            yield LineInput(self._value)
            yield KeyLine(say("tui.questions.line"))

    def action_answer(self) -> None:
        self.dismiss(self.query_one(Input).value.strip())


async def offer_to_fetch(
    app: TurnsApp, bar: FetchBar, item: ModelEntry, tell: Callable[[str], None]
) -> Download | None:
    """Ask whether to fetch a model; return the download, not yet begun, or None.

    Args:
        tell: shows a sentence; "" removes it.
    """
    if bar.running:
        tell(say("tui.fetch.one_at_a_time", name=one_line(bar.running)))
        return None
    tell(say("tui.fetch.asking", name=one_line(item.title)))
    try:
        download = await prepare_download(item.reference, app.settings)
    except ChatuiError as error:
        tell(str(error))
        return None
    tell("")
    if await app.push_screen_wait(YesNoQuestion(plain_text(download.question))):
        return download
    await download.events.aclose()
    return None
