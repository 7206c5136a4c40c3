"""The help screen (F1): all keys and the folders."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, pairwise
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Click, Resize
from textual.screen import ModalScreen
from textual.widgets import Static

from chatui import locations
from chatui.locales import say
from chatui.text import one_line
from chatui.tui.keymap import binding_label
from chatui.tui.widgets.key_line import KeyLine
from chatui.tui.wrapping import row_starts

EDITING_KEYS = (
    ("Ctrl+A / Home", "tui.keys.line_start"),
    ("Ctrl+E / End", "tui.keys.line_end"),
    ("Ctrl+← / Ctrl+→", "tui.keys.move_by_word"),
    ("Shift+← → ↑ ↓", "tui.keys.select"),
    ("F6 / F7", "tui.keys.select_all"),
    ("Ctrl+W", "tui.keys.delete_word"),
    ("Ctrl+U / Ctrl+K", "tui.keys.delete_line"),
    ("Ctrl+X / Ctrl+V", "tui.keys.cut_paste"),
    ("Ctrl+Z / Ctrl+Y", "tui.keys.undo"),
)
"""The keys of Textual's text area; all other keys are read from the bindings."""

KEYS_CELLS = 22
PANEL_CELLS = 84
MIN_CELLS = 12
"""The panel's width in the stylesheet, and the minimum width of a row of text."""
_AROUND_CELLS = 5
"""The width of padding and scroll bar."""


def key_rows(bindings: Iterable[BindingType]) -> list[tuple[str, str]]:
    """Return (keys, description) for each binding with a description.

    Consecutive bindings with the same description, such as 0 to 9, become one row.
    """
    shown = [each for each in bindings if isinstance(each, Binding) and each.description]
    rows = []
    for words, group in groupby(shown, key=lambda each: each.description):
        keys = list(map(binding_label, group))
        rows.append((" … ".join(dict.fromkeys((keys[0], keys[-1]))), say(words)))
    return rows


def _indented(words: str, indent: int, cells: int) -> str:
    """Wrap words to ``cells``, with an indent before every row but the first."""
    cuts = [0, *row_starts(words, max(1, cells - indent)), len(words)]
    return f"\n{' ' * indent}".join(words[start:end] for start, end in pairwise(cuts))


def _row(keys: str, words: str, cells: int) -> Content:
    """Format keys and description in one row, or in two if there is no room."""
    indent = KEYS_CELLS + 2 if cells > 2 * KEYS_CELLS else 6
    gap = indent - 2 - cell_len(keys)
    space = " " * gap if gap > 1 and indent > KEYS_CELLS else "\n" + " " * indent
    shown = _indented(words, indent, cells)
    return Content.assemble(Content.styled("  " + keys, "$accent"), space, shown)


def help_text(talking: Iterable[BindingType], cells: int) -> Content:
    """Return all groups of keys as an aligned table, followed by the folders.

    Args:
        talking: the bindings of the main screen and of the app.
        cells: the width of a row.
    """
    from chatui.tui.screens.adapter_picker import AdapterPicker
    from chatui.tui.screens.compare import CompareScreen
    from chatui.tui.screens.model_picker import ModelPicker
    from chatui.tui.screens.picker import ConversationPicker, Picker
    from chatui.tui.screens.questions import LineQuestion, YesNoQuestion
    from chatui.tui.screens.replay_screen import ReplayScreen
    from chatui.tui.screens.variant_picker import VariantPicker
    from chatui.tui.widgets.conversation_list import ConversationList
    from chatui.tui.widgets.find_bar import FindBar
    from chatui.tui.widgets.pick_list import PickList
    from chatui.tui.widgets.query_box import QueryBox
    from chatui.tui.widgets.setting_slider import NumberField
    from chatui.tui.widgets.settings_panel import SettingsPanel
    from chatui.tui.widgets.side_bar import SideBar
    from chatui.tui.widgets.token_panel import TokenPanel

    groups: list[tuple[str, Iterable[BindingType]]] = [
        ("tui.help.writing", QueryBox.BINDINGS),
        ("tui.help.talking", talking),
        ("tui.help.token_panel", TokenPanel.BINDINGS),
        ("tui.help.panel", [*SettingsPanel.BINDINGS, *NumberField.BINDINGS]),
        ("tui.help.lists", [*PickList.BINDINGS, *Picker.BINDINGS]),
        ("tui.help.conversations", [*ConversationList.BINDINGS, *ConversationPicker.BINDINGS]),
        ("organise.help.side_bar", SideBar.BINDINGS),
        ("organise.help.find", FindBar.BINDINGS),
        ("tui.help.models", ModelPicker.BINDINGS),
        ("tui.help.adapters", AdapterPicker.BINDINGS),
        ("overview.help.compare", [*VariantPicker.BINDINGS, *CompareScreen.BINDINGS]),
        ("tui.help.replay", ReplayScreen.BINDINGS),
        ("tui.help.questions", [*YesNoQuestion.BINDINGS, *LineQuestion.BINDINGS]),
    ]
    parts: list[Content] = []
    rows_of = [(title, key_rows(bindings)) for title, bindings in groups]
    editing = [(keys, say(words)) for keys, words in EDITING_KEYS]
    for title, rows in (*rows_of, ("tui.help.editing", editing)):
        parts.append(Content.styled(say(title), "bold $primary"))
        parts += [_row(keys, words, cells) for keys, words in rows]
        parts.append(Content(""))
    files = (
        say("tui.help.settings", path=one_line(str(locations.settings_file()))),
        say("tui.help.data", path=one_line(str(locations.data_folder()))),
    )
    notes = [say(f"tui.help.{note}") for note in ("background", "select_with_mouse")]
    parts += [Content("  " + _indented(note, 2, cells)) for note in notes]
    parts += [Content(""), Content.styled(say("tui.help.files"), "bold $primary")]
    parts += [Content("  " + _indented(file, 2, cells)) for file in files]
    return Content("\n").join(parts)


def row_cells(width: int) -> int:
    """Return the width of a row of text in a terminal of this width."""
    return max(MIN_CELLS, min(PANEL_CELLS, width) - _AROUND_CELLS)


class HelpScreen(ModalScreen[None]):
    """All keys and the folders."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,q,enter", "dismiss", "tui.keys.close"),
    ]

    def __init__(self, talking: Iterable[BindingType]) -> None:
        """
        Args:
            talking: the bindings of the main screen and of the app.
        """
        super().__init__()
        self._talking = tuple(talking)

    def compose(self) -> ComposeResult:
        self._cells = row_cells(self.app.size.width)
        with VerticalScroll():
            yield Static(help_text(self._talking, self._cells), classes="keys")
        yield KeyLine(say("tui.help.close"))

    def on_resize(self, event: Resize) -> None:
        before, self._cells = self._cells, row_cells(event.size.width)
        if self._cells != before:
            update = self.query_one(".keys", Static).update
            # An update during the layout would be ignored.
            self.call_after_refresh(update, help_text(self._talking, self._cells))

    def on_click(self, event: Click) -> None:
        if event.widget is self:
            # A click beside the panel.
            self.dismiss()
