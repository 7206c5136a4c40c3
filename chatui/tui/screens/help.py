"""The help screen (F1): all keys and the folders."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby, pairwise
from pkgutil import resolve_name
from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widget import Widget

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

_TALKING = "tui.help.talking"
_GROUPS = {
    "tui.help.writing": ("widgets.query_box:QueryBox",),
    _TALKING: (),
    "tui.help.token_panel": ("widgets.token_panel:TokenPanel",),
    "tui.help.panel": (
        "widgets.settings_panel:SettingsPanel",
        "widgets.settings_panel:NumberField",
    ),
    "tui.help.lists": ("widgets.pick_list:PickList", "screens.picker:Picker"),
    "tui.help.conversations": (
        "widgets.conversation_list:ConversationList",
        "screens.picker:ConversationPicker",
    ),
    "organise.help.side_bar": ("widgets.side_bar:SideBar",),
    "organise.help.find": ("widgets.find_bar:FindBar",),
    "tui.help.models": ("screens.model_picker:ModelPicker",),
    "tui.help.adapters": ("screens.adapter_picker:AdapterPicker",),
    "overview.help.compare": (
        "screens.variant_picker:VariantPicker",
        "screens.compare:CompareScreen",
    ),
    "tui.help.replay": ("screens.replay_screen:ReplayScreen",),
    "tui.help.questions": ("screens.questions:YesNoQuestion", "screens.questions:LineQuestion"),
}
"""The titles of the groups, and the classes of ``chatui.tui`` whose keys each lists."""

KEYS_CELLS = 22


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
    cuts = [0, *row_starts(words, cells - indent), len(words)]
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
    parts: list[Content] = []
    for title, owners in _GROUPS.items():
        classes = [resolve_name(f"chatui.tui.{owner}") for owner in owners]
        bindings = [binding for owner in classes for binding in owner.BINDINGS]
        rows = key_rows(talking if title == _TALKING else bindings)
        parts += _group(title, rows, cells)
    parts += _group("tui.help.editing", [(keys, say(words)) for keys, words in EDITING_KEYS], cells)
    files = (
        say("tui.help.settings", path=one_line(str(locations.settings_file()))),
        say("tui.help.data", path=one_line(str(locations.data_folder()))),
    )
    notes = [say(f"tui.help.{note}") for note in ("background", "select_with_mouse")]
    parts += [Content("  " + _indented(note, 2, cells)) for note in notes]
    parts += [Content(""), Content.styled(say("tui.help.files"), "bold $primary")]
    parts += [Content("  " + _indented(file, 2, cells)) for file in files]
    return Content("\n").join(parts)


def _group(title: str, rows: Iterable[tuple[str, str]], cells: int) -> list[Content]:
    heading = Content.styled(say(title), "bold $primary")
    return [heading, *(_row(keys, words, cells) for keys, words in rows), Content("")]


class KeyTable(Widget):
    """The help text in the widget's own width."""

    def __init__(self, talking: Iterable[BindingType]) -> None:
        super().__init__()
        self._talking = tuple(talking)
        self._text = Content("")

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        self._text = help_text(self._talking, width)
        return self._text.plain.count("\n") + 1

    def render(self) -> Content:
        return self._text


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
        self._talking = talking

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield KeyTable(self._talking)
        yield KeyLine(say("tui.help.close"))

    def on_click(self, event: Click) -> None:
        if event.widget is self:
            # A click beside the panel.
            self.dismiss()
