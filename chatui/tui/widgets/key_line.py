"""A line of key hints such as "Enter choose · Esc back"; a click on one presses the key."""

from __future__ import annotations

import re
from pathlib import Path

from rich.cells import cell_len
from textual.content import Content
from textual.style import Style
from textual.widget import Widget

SEPARATOR = " · "
_OTHERS = SEPARATOR + "…"
_NAMES = {
    "esc": "escape",
    "←": "left",
    "→": "right",
    "↑": "up",
    "↓": "down",
    "+": "plus",
    "-": "minus",
}
_PRESSABLE = re.compile(
    r"((ctrl|alt|shift)\+)*"
    r"([a-zA-Z0-9?/]|f\d+|enter|escape|space|tab|left|right|up|down|plus|minus)$"
)


def clickable(words: str | Content, action: str) -> Content:
    """Return text that runs an action when it is clicked, in a widget without ``auto_links``."""
    return Content.assemble(words).stylize(Style.from_meta({"@click": action}))


def fitting_keys(words: str, cells: int) -> Content:
    """Return the key hints that fit into ``cells``, but the first one at least."""
    parts = words.split(SEPARATOR)
    while len(parts) > 1 and cell_len(SEPARATOR.join(parts)) > cells:
        parts.pop()
    return Content(SEPARATOR).join(map(_hint, parts)).stylize("$foreground-muted")


def _hint(words: str) -> Content:
    """Return a hint; a click presses its key if it begins with one, such as "Ctrl+E"."""
    label = words.split(" ", 1)[0]
    names = [label] if len(label) == 1 else label.lower().split("+")
    key = "+".join(_NAMES.get(name, name) for name in names)
    return (
        clickable(words, f"app.simulate_key('{key}')") if _PRESSABLE.match(key) else Content(words)
    )


class KeyHints(Widget):
    """Shows key hints in pages of one line; a click on "…" shows the next page."""

    auto_links = False

    _words = ""
    _first = _next = 0

    def hints(self, words: str, cells: int) -> Content:
        """Return the hints of the current page; new hints start at the first page."""
        if words != self._words:
            self._words, self._first = words, 0
        if cell_len(words) <= cells:
            return fitting_keys(words, cells)
        parts = words.split(SEPARATOR)
        shown = fitting_keys(SEPARATOR.join(parts[self._first :]), cells - cell_len(_OTHERS))
        following = self._first + len(shown.plain.split(SEPARATOR))
        self._next = following if following < len(parts) else 0
        return shown + clickable(_OTHERS, "more_hints").stylize("$foreground-muted")

    def action_more_hints(self) -> None:
        self._first = self._next
        self.refresh()


class KeyLine(KeyHints):
    """A line of key hints."""

    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")

    def __init__(self, words: str) -> None:
        super().__init__()
        self._all_words = words

    def render(self) -> Content:
        return self.hints(self._all_words, self.content_size.width)
