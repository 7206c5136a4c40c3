"""A line of key hints such as "Enter choose · Esc back"; a click on one presses the key."""

from __future__ import annotations

import re
from pathlib import Path

from rich.cells import cell_len
from textual.content import Content
from textual.events import Click, Key
from textual.style import Style
from textual.widgets import Static

SEPARATOR = " · "
_OTHERS = SEPARATOR + "…"
_KEY, _MORE = "key", "more"
_NAMES = {"esc": "escape", "←": "left", "→": "right", "↑": "up", "↓": "down"}
_SIGNS = {"+": "plus", "-": "minus"}
_PRESSABLE = re.compile(
    r"((ctrl|alt|shift)\+)*([a-z0-9?/]|f\d+|enter|escape|space|tab|left|right|up|down)$"
)


class PagedKeys:
    """Key hints in pages of one line; a click on "…" shows the next page."""

    def __init__(self) -> None:
        self._words = ""
        self._first = self._next = 0

    def page(self, words: str, cells: int) -> Content:
        """Return the hints of the current page; new hints start at the first page."""
        if words != self._words:
            self._words, self._first = words, 0
        if cell_len(words) <= cells:
            return fitting_keys(words, cells)
        parts = words.split(SEPARATOR)
        shown = fitting_keys(SEPARATOR.join(parts[self._first :]), cells - cell_len(_OTHERS))
        following = self._first + len(shown.plain.split(SEPARATOR))
        self._next = following if following < len(parts) else 0
        others = Content.styled(_OTHERS, "$foreground-muted")
        return Content.assemble(shown, others.stylize(Style.from_meta({_MORE: True})))

    def click(self, event: Click) -> None:
        """Show the next page, or press the clicked key."""
        if event.style.meta.get(_MORE) and event.widget is not None:
            event.stop()
            self._first = self._next
            event.widget.refresh()
        else:
            press_clicked_key(event)


class KeyLine(Static):
    """A line of key hints."""

    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words
        self._pages = PagedKeys()

    def render(self) -> Content:
        return self._pages.page(self._words, self.content_size.width)

    def on_click(self, event: Click) -> None:
        self._pages.click(event)


def fitting_keys(words: str, cells: int) -> Content:
    """Return the key hints that fit into ``cells``, but the first one at least."""
    parts = words.split(SEPARATOR)
    while len(parts) > 1 and cell_len(SEPARATOR.join(parts)) > cells:
        parts.pop()
    hints = []
    for part in parts:
        hint = Content.styled(part, "$foreground-muted")
        key = key_from_label(part.split(" ", 1)[0])
        hints.append(hint.stylize(Style.from_meta({_KEY: key})) if key else hint)
    return Content.styled(SEPARATOR, "$foreground-muted").join(hints)


def key_from_label(name: str) -> str:
    """Return Textual's name of a key written as "Ctrl+E"; "" if it is no key."""
    if name in _SIGNS or (len(name) == 1 and name.isupper()):
        return _SIGNS.get(name, name)
    parts = [_NAMES.get(part, part) for part in name.lower().split("+")]
    key = "+".join(parts)
    return key if _PRESSABLE.match(key) else ""


def press_clicked_key(event: Click) -> bool:
    """Press the key of a clicked hint; False if no hint was clicked."""
    key = event.style.meta.get(_KEY)
    if not isinstance(key, str) or event.widget is None:
        return False
    event.stop()
    character = key if len(key) == 1 else " " if key == "space" else None
    event.widget.app.post_message(Key(key, character))
    return True
