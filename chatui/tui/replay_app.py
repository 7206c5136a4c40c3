"""The app of ``chatui replay``, which plays a transcript without a store or an engine."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual.app import App
from textual.binding import Binding, BindingType

from chatui.conversation.playback import Player, ReplayPoint
from chatui.text import plain_text, without_surrogates
from chatui.tui import themes
from chatui.tui.screens.replay_screen import ReplayScreen


class ReplayApp(App[ReplayPoint]):
    """Plays a transcript; returns the point from which the user wants to continue."""

    TITLE = "chatui"
    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = [  # noqa: RUF012  # as the base class has it
        str(Path(__file__).parent / "widgets" / sheet)
        for sheet in ("conversation_view.tcss", "round_list.tcss")
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+q", "quit", "tui.keys.quit", priority=True),
    ]

    def __init__(
        self, player: Player, title: str, theme: str = "", notices: tuple[str, ...] = ()
    ) -> None:
        """
        Args:
            title: the title of the conversation.
            theme: a Textual theme; chatui's own if it is unknown.
            notices: warnings to show at the start.
        """
        super().__init__()
        self.replay = ReplayScreen(player, title)
        self._notices = notices
        themes.prepare(self)
        self.theme = theme if theme in self.available_themes else themes.DARK.name

    def get_default_screen(self) -> ReplayScreen:
        return self.replay

    def on_mount(self) -> None:
        for notice in self._notices:
            self.notify(plain_text(notice), severity="warning", markup=False)

    def copy_to_clipboard(self, text: str) -> None:
        """Copy to the terminal's clipboard; lone surrogates become U+FFFD."""
        super().copy_to_clipboard(without_surrogates(text))
