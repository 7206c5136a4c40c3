"""The timeline of a replay: its position, its speed, and a bar to seek on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

from chatui.conversation.playback import Player
from chatui.locales import say
from chatui.readable import duration
from chatui.tui.widgets.key_line import fitting_keys

_LEAST_BAR_CELLS = 10


class Timeline(Widget):
    """Shows a player's position; a click on the bar seeks. Call ``refresh`` to update it."""

    auto_links = False
    DEFAULT_CSS = Path(__file__).with_suffix(".tcss").read_text(encoding="utf-8")

    @dataclass
    class Jumped(Message):
        """The user clicked the bar.

        Attributes:
            share: the clicked position, from 0 (start) to 1 (end).
        """

        share: float

    def __init__(self, player: Player) -> None:
        super().__init__()
        self._player = player
        self._starts = player.start_seconds
        self._bar = (0, 0)

    def render(self) -> Content:
        player = self._player
        mark = "‖" if player.is_paused else "■" if player.is_over else "▶"
        at, total = player.at_seconds, player.total_seconds
        before = f"{mark} {duration(int(at))} / {duration(int(total))} "
        rounds = say("tui.replay.rounds", done=player.rounds_begun(), rounds=len(self._starts))
        behind = f" {player.speed:g}× · {rounds}"
        room = self.size.width - cell_len(before) - cell_len(behind)
        keys = fitting_keys(say("tui.replay.keys"), room - 3 * _LEAST_BAR_CELLS)
        if keys.cell_length > room - _LEAST_BAR_CELLS:
            keys = Content()
        cells = max(0, room - keys.cell_length - 2)
        self._bar = (cell_len(before), cells)
        played, left = self._cells(at, total, cells)
        return Content.assemble(
            before,
            Content.styled(played, "$accent"),
            Content.styled(left, "$foreground-muted"),
            behind,
            "  ",
            keys,
        )

    def _cells(self, at: float, total: float, cells: int) -> tuple[str, str]:
        """Return the played and the remaining part of the bar, with a mark for each round."""
        starts = {min(cells - 1, int(start / total * cells)) for start in self._starts if total}
        bar = "".join("┿" if cell in starts else "━" for cell in range(cells))
        reached = round(at / total * cells) if total else cells
        return bar[:reached], bar[reached:].replace("━", "─").replace("┿", "┼")

    def on_click(self, event: Click) -> None:
        start, cells = self._bar
        # The event's x counts the widget's padding.
        place = event.x - self.gutter.left - start
        if cells and 0 <= place < cells:
            self.post_message(self.Jumped(place / max(1, cells - 1)))
