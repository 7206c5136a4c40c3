"""The replay: the screen at each moment, and the keys."""

from __future__ import annotations

from typing import Any

from textual.geometry import Offset
from textual.pilot import Pilot

from chatui.conversation.playback import Player
from chatui.conversation.rounds import Conversation, Piece, Round, Transcript
from chatui.readable import duration
from chatui.tui.screens.replay_screen import ReplayApp, ReplayScreen, Timeline
from chatui.tui.widgets.conversation_view import ConversationView

ROUNDS = (
    Round(1, 0, None, "写诗", "床前明月光", "done", "诗友", started_at=1000, seconds=4),
    Round(2, 0, 1, "\x1b[31m再来\ud800", "好", "stopped", "诗友", started_at=1005, seconds=1),
)
PIECES = {
    1: tuple(Piece(at, text) for at, text in enumerate("床前明月光")),
    2: (Piece(0.5, "好"),),
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def replay_app() -> tuple[ReplayApp, Clock]:
    whole = Transcript(Conversation(0, "诗", 0, 0, 2, 2), ROUNDS, PIECES)
    clock = Clock()
    return ReplayApp(Player(whole, clock=clock), "诗", notices=("x",)), clock


async def settled(app: ReplayApp, pilot: Pilot[None]) -> list[tuple[str, str]]:
    """Return the screen after the app's timer has caught up with the player."""
    for _ in range(3):
        drawn = app.replay.frames
        while app.replay.frames == drawn:
            await pilot.pause(0.01)
    await pilot.pause()
    return shown(app)


def shown(app: ReplayApp) -> list[tuple[str, str]]:
    return [(view.round.state, view.reply_text) for view in app.query_one(ConversationView).views]


async def test_the_conversation_is_replayed_in_its_own_timing() -> None:
    app, clock = replay_app()
    async with app.run_test(size=(80, 20)) as pilot:

        async def at(seconds: float) -> list[tuple[str, str]]:
            clock.now = seconds
            return await settled(app, pilot)

        assert await at(0.0) == [("streaming", "床")]
        assert await at(2.5) == [("streaming", "床前明")]
        assert await at(4.0) == [("done", "床前明月光")]
        assert await at(5.6) == [("done", "床前明月光"), ("streaming", "好")]
        assert await at(99.0) == [("done", "床前明月光"), ("stopped", "好")]
        assert app.replay.player.is_over


async def test_keys_pause_step_jump_and_change_the_speed() -> None:
    app, clock = replay_app()
    async with app.run_test(size=(80, 20)) as pilot:

        async def press(*keys: str) -> list[tuple[str, str]]:
            await pilot.press(*keys)
            return await settled(app, pilot)

        assert await press("space") == [("streaming", "床")]
        clock.now = 60
        assert await press("right") == [("streaming", "床前")]
        assert await press("right", "right", "left") == [("streaming", "床前明")]
        assert await press("down") == [("done", "床前明月光"), ("streaming", "")]
        assert await press("up") == [("streaming", "")]
        assert await press("end") == [("done", "床前明月光"), ("stopped", "好")]
        assert await press("home") == [("streaming", "床")]
        assert await press("5") == [("streaming", "床前明月")]
        assert app.replay.player.is_paused
        await press("plus", "plus", "plus", "plus", "plus")
        assert app.replay.player.speed == 16
        await press(*["minus"] * 9)
        assert app.replay.player.speed == 0.25
        await press("space")
        clock.now += 1
        assert await press() == [("streaming", "床前明月")]
        clock.now += 4
        assert await press() == [("done", "床前明月光")]
        await pilot.press("q")
    assert app.return_code == 0


async def test_enter_returns_the_point_to_continue_from() -> None:
    for keys, expected in (
        (("right", "right"), (1, 3)),
        (("end",), (2, None)),
        (("home",), (1, 1)),
    ):
        app, _ = replay_app()
        async with app.run_test(size=(80, 20)) as pilot:
            await settled(app, pilot)
            await pilot.press(*keys, "enter")
        point = app.return_value
        assert point is not None and (point.round.id, point.pieces) == expected


async def test_a_click_on_the_timeline_jumps() -> None:
    app, _ = replay_app()
    async with app.run_test(size=(60, 10)) as pilot:
        await settled(app, pilot)
        line = str(app.query_one(Timeline).render())
        assert "0:00 / 0:06" in line and "1×" in line and "1/2" in line
        end = max(place for place, cell in enumerate(line) if cell in "━─┼┿")
        await pilot.click(Timeline, offset=Offset(end + app.query_one(Timeline).gutter.left, 0))
        await pilot.pause()
        assert app.replay.player.is_over
        assert len({cell for cell in str(app.query_one(Timeline).render()) if cell in "┼┿"}) == 1


async def test_an_empty_transcript_can_be_replayed() -> None:
    app = ReplayApp(Player(Transcript(Conversation(0, "", 0, 0), ())), "")
    async with app.run_test(size=(40, 5)) as pilot:
        await pilot.press("space", "right", "down", "up", "5", "plus")
        assert await settled(app, pilot) == []


def test_durations_are_formatted_as_clock_times() -> None:
    assert (duration(0), duration(65), duration(3605)) == ("0:00", "1:05", "1:00:05")


async def test_a_conversation_of_the_app_is_replayed_and_continued(drive: Any) -> None:
    async with drive(["春风又绿"], size=(100, 24)) as on:
        await on.ask("/replay")
        assert not isinstance(on.app.screen, ReplayScreen), "there is nothing to replay"
        await on.ask("写诗")
        await on.send("/replay")
        await on.until(lambda: isinstance(on.app.screen, ReplayScreen))
        await on.until_shown("春风又绿")
        await on.pilot.press("left", "left", "left")
        await on.until_shown("春风\n")
        await on.pilot.press("enter")
        await on.until(lambda: not isinstance(on.app.screen, ReplayScreen))
        await on.until(lambda: [view.reply_text for view in on.views] == ["春风"])
        whole, cut = on.store.siblings(on.rounds[0].id)
        assert (whole.reply, cut.reply, cut.state) == ("春风又绿", "春风", "stopped")
        await on.send("/replay")
        await on.until(lambda: isinstance(on.app.screen, ReplayScreen))
        await on.pilot.press("q")
        await on.until(lambda: not isinstance(on.app.screen, ReplayScreen))
