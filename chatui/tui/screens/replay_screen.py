"""The replay of a conversation, in its own timing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.events import Click, Resize
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget
from textual.widgets import Static

from chatui.conversation.playback import Player, ReplayPoint, ReplayStep
from chatui.conversation.rounds import Round
from chatui.locales import say
from chatui.readable import duration
from chatui.text import one_line, plain_text, without_surrogates
from chatui.tui import themes
from chatui.tui.screens import SHORT_BELOW_ROWS
from chatui.tui.widgets.conversation_view import ConversationView
from chatui.tui.widgets.key_line import fitting_keys

SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)

_FRAMES_PER_SECOND = 30
_MAX_APPENDED_STEPS = 500
"""Longer jumps rebuild the conversation."""
_LEAST_BAR_CELLS = 10


class Timeline(Widget):
    """Shows a player's position; a click on the bar seeks. Call ``refresh`` to update it."""

    auto_links = False

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


class ReplayScreen(Screen["ReplayPoint | None"]):
    """Plays a conversation; returns the point from which the user wants to continue.

    Attributes:
        player: the clock and the steps.
        shown: the number of steps on the screen.
        frames: the number of updates so far.
    """

    CSS_PATH = "replay_screen.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "tui.replay.pause"),
        Binding("right,full_stop", "step(1)", "tui.replay.token_after"),
        Binding("left,comma", "step(-1)", "tui.replay.token_before"),
        Binding("down,n", "step_round(1)", "tui.replay.round_after"),
        Binding("up,p", "step_round(-1)", "tui.replay.round_before"),
        Binding("plus,equals_sign", "change_speed(1)", "tui.replay.faster"),
        Binding("minus", "change_speed(-1)", "tui.replay.slower"),
        Binding("home", "jump(0)", "tui.replay.start"),
        Binding("end", "jump(10)", "tui.replay.end"),
        *(Binding(str(tenth), f"jump({tenth})", "tui.replay.jump") for tenth in range(10)),
        Binding("enter", "resume", "tui.replay.resume"),
        Binding("pageup", "scroll_pages(-1)", "tui.keys.page_up"),
        Binding("pagedown", "scroll_pages(1)", "tui.keys.page_down"),
        Binding("f4", "fold", "tui.keys.fold"),
        Binding("q,escape", "leave", "tui.keys.quit"),
    ]

    def __init__(self, player: Player, title: str) -> None:
        """
        Args:
            title: the title of the conversation.
        """
        super().__init__()
        self.player = player
        self.shown = 0
        self.frames = 0
        self._heading = title

    def compose(self) -> ComposeResult:
        yield Static(one_line(self._heading), id="title", markup=False)
        yield ConversationView(Static(""))
        yield Timeline(self.player)

    def on_mount(self) -> None:
        self.player.seek(0.0)
        self.set_interval(1 / _FRAMES_PER_SECOND, self.show_what_is_due)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.height < SHORT_BELOW_ROWS, "-short")

    @property
    def _conversation(self) -> ConversationView:
        return self.query_one(ConversationView)

    async def show_what_is_due(self) -> None:
        """Update the screen to the player's position."""
        if not self.query(Timeline):
            # The app is closing.
            return
        reached = self.player.advance()
        if self.shown <= reached <= self.shown + _MAX_APPENDED_STEPS:
            self._append(self.player.steps(self.shown, reached))
        else:
            await self._conversation.show(_rounds(self.player), Static(""))
        self.shown = reached
        self.frames += 1
        self.query_one(Timeline).refresh()

    def _append(self, steps: Iterator[ReplayStep]) -> None:
        """Append steps to the screen, with consecutive tokens in one update."""
        for kind, group in groupby(steps, key=lambda step: step.kind):
            if kind == "piece":
                view = self._conversation.last
                if view is not None:
                    view.append("".join(step.text for step in group))
                continue
            for step in group:
                if kind == "query":
                    self._conversation.add(_begun(step.round))
                elif (view := self._conversation.last) is not None:
                    view.update(step.round)

    # Actions

    def action_pause(self) -> None:
        self.player.pause(not self.player.is_paused and not self.player.is_over)

    def action_step(self, count: int) -> None:
        self.player.step(count)

    def action_step_round(self, count: int) -> None:
        self.player.step_round(count)

    def action_change_speed(self, steps: int) -> None:
        now = self.player.speed
        others = [speed for speed in SPEEDS if (speed > now if steps > 0 else speed < now)]
        if others:
            self.player.speed = min(others) if steps > 0 else max(others)

    def action_resume(self) -> None:
        if (point := self.player.point) is not None:
            self._leave(point)

    def action_leave(self) -> None:
        self._leave(None)

    def _leave(self, point: ReplayPoint | None) -> None:
        if len(self.app.screen_stack) > 1:
            self.dismiss(point)
        else:
            # The replay is the only screen, in ``chatui replay``.
            self.app.exit(point)

    def action_jump(self, tenth: int) -> None:
        self.player.seek(self.player.total_seconds * tenth / 10)

    def action_scroll_pages(self, pages: int) -> None:
        self._conversation.scroll_pages(pages)

    def action_fold(self) -> None:
        view = self._conversation.last_with_folds
        if view is not None:
            view.toggle_folds()

    def on_timeline_jumped(self, event: Timeline.Jumped) -> None:
        self.player.seek(self.player.total_seconds * event.share)


def _begun(whole: Round, reply: str = "") -> Round:
    return replace(whole, state="streaming", reply=reply, finish_reason=None, error=None)


def _rounds(player: Player) -> list[Round]:
    """Return the rounds at the player's position."""
    rounds = list(player.rounds[: player.rounds_begun()])
    if (said := player.reply_so_far()) is not None:
        rounds[-1] = _begun(rounds[-1], said)
    return rounds


class ReplayApp(App[ReplayPoint]):
    """Plays a transcript, without a store; returns the point from which the user continues."""

    TITLE = "chatui"
    ENABLE_COMMAND_PALETTE = False
    CSS_PATH = [  # noqa: RUF012  # as the base class has it
        str(Path(__file__).parents[1] / "widgets" / sheet)
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
