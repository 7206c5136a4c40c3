"""Edited queries and replies: each makes a branch, and nothing is overwritten."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from driven import Driven
from saved_conversations import add_conversation
from textual.events import Key

from chatui.conversation.continued_reply import continuation_of
from chatui.conversation.rounds import Piece, Round
from chatui.conversation.store import Store
from chatui.locales import say
from chatui.messages import PartialReply
from chatui.tui.widgets.round_list import RoundList

TALK = (("甲", "一"), ("乙", "二"), ("丙", "三"))


def shown(on: Driven) -> list[tuple[str, str]]:
    return [(view.round.query, view.round.reply) for view in on.views]


async def test_editing_an_earlier_query_makes_a_branch(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, *TALK)
    async with drive(["新"], store=store) as on:
        await on.pilot.press("ctrl+o")
        await on.settled()
        on.box.insert_text("草稿")
        await on.pilot.press("alt+up", "alt+up")
        list_ = on.conversation.query_one(RoundList)
        strips = [list_.render_line(list_.round_region(view).y + 2) for view in on.views]
        colours = [strip._segments[-1].style.bgcolor for strip in strips]
        assert colours[0] == colours[2] != colours[1], "the chosen round is seen"
        on.app.post_message(Key("alt+e", "e"))  # as a terminal sends it
        await on.pilot.pause()
        assert on.box.query_text == "乙"
        assert say("tui.rewrite.query") in on.screen_text
        await on.pilot.press("!", "enter")
        await on.settled()
        assert on.backend.requests[-1].query == "乙!"
        assert on.backend.requests[-1].history == (("甲", "一"),)
        assert shown(on) == [("甲", "一"), ("乙!", "新")]
        assert "2/2" in on.screen_text
        assert on.box.query_text == "草稿", "what was being typed comes back"
        await on.pilot.press("alt+left")
        await on.settled()
        assert shown(on) == list(TALK)
        assert on.conversation.chosen is on.views[1], "the branching round stays the chosen one"
        await on.pilot.press("alt+right")
        await on.settled()
        assert [round_.query for round_ in on.rounds] == ["甲", "乙!"]


async def test_the_first_query_can_be_edited(drive: Any) -> None:
    async with drive(["一", "二"]) as on:
        await on.ask("甲")
        await on.pilot.press("alt+e", "乙", "enter")
        await on.settled()
        assert shown(on) == [("甲乙", "二")]
        assert on.backend.requests[-1].history == ()


async def test_esc_cancels_an_edit(drive: Any) -> None:
    async with drive(["一"]) as on:
        await on.ask("甲")
        on.box.insert_text("草稿")
        await on.pilot.press("alt+e", "x", "escape")
        await on.settled()
        assert on.box.query_text == "草稿"
        assert len(on.backend.requests) == 1
        assert say("tui.rewrite.query") not in on.screen_text


async def test_an_edit_during_a_reply_waits_for_its_end(drive: Any) -> None:
    async with drive(["一", "二三"]) as on:
        await on.ask("甲")
        on.backend.hold_after = 1
        await on.send("乙")
        await on.until(lambda: on.app.turns.is_replying)
        await on.pilot.press("alt+up", "alt+up", "alt+e", "!", "enter")
        await on.until(lambda: on.app.turns.waiting == ("甲!",))
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.settled()
        assert on.box.query_text == "甲!"


async def test_an_edited_reply_is_part_of_the_next_prompt(drive: Any) -> None:
    async with drive(["春风又绿", "好"]) as on:
        await on.ask("甲")
        await on.pilot.press("alt+r", "江", "enter")
        await on.settled()
        assert shown(on) == [("甲", "春风又绿江")]
        assert say("tui.round.edited") in on.screen_text
        assert "2/2" in on.screen_text
        await on.ask("乙")
        assert on.backend.requests[-1].history == (("甲", "春风又绿江"),)
        first = on.store.siblings(on.rounds[0].id)[0]
        assert (first.reply, first.finish_reason) == ("春风又绿", "eos")


async def test_a_long_reply_is_edited_as_text(drive: Any) -> None:
    store = Store(None)
    text = "\n".join(["春风又绿江南岸"] * 300)
    add_conversation(store, ("甲", text))
    async with drive(store=store) as on:
        await on.pilot.press("ctrl+o")
        await on.settled()
        await on.pilot.press("alt+r")
        assert on.box.text == text


async def test_a_reply_that_cannot_be_saved_returns_to_the_box(
    drive: Any, monkeypatch: Any
) -> None:
    async with drive(["春"]) as on:
        await on.ask("甲")
        conversation = on.rounds[0].conversation_id
        await on.pilot.press("alt+r", "风")
        on.store.delete(conversation)
        await on.pilot.press("enter")
        await on.settled()
        assert on.box.query_text == "春风"
        assert on.notices


async def test_a_branch_of_an_early_round_shows_the_rounds_before_it(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, *((str(number), "好") for number in range(70)))
    async with drive(["新"], store=store) as on:
        await on.pilot.press("ctrl+o")
        await on.settled()
        old = store.rounds(on.rounds[0].conversation_id)[30]
        on.app.turns.regenerate(old)
        await on.settled()
        assert shown(on)[-2:] == [("29", "好"), ("30", "新")]
        assert len(on.views) == 31


async def test_a_stopped_reply_continues_from_its_last_token(drive: Any) -> None:
    async with drive(["春风又绿", "绿江南"]) as on:
        on.backend.hold_after = 3
        await on.send("甲")
        await on.until(lambda: on.views and on.views[0].reply_text == "春风又")
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.settled()
        on.backend.hold_after = None
        await on.pilot.press("alt+c")
        await on.settled()
        request = on.backend.requests[-1]
        assert request.partial_reply == PartialReply("春风又", (1, 2, 3))
        assert (request.query, request.history) == ("甲", ())
        assert shown(on) == [("甲", "春风又绿江南")]
        pieces = on.store.pieces(on.rounds[0].id)
        assert [(piece.text, piece.token_id) for piece in pieces[:4]] == [
            ("春", 1), ("风", 2), ("又", 3), ("绿", 1)
        ]  # fmt: skip
        assert on.rounds[0].output_tokens == 3
        assert on.store.siblings(on.rounds[0].id)[0].reply == "春风又"


async def test_a_complete_reply_gets_no_equal_branch(drive: Any) -> None:
    async with drive(["春风"]) as on:
        await on.ask("甲")
        await on.pilot.press("alt+c")
        await on.settled()
        assert say("tui.rewrite.complete") in on.notices
        assert len(on.backend.requests) == 1 and on.rounds[0].versions == 1


async def test_an_edited_reply_continues_from_its_text(drive: Any) -> None:
    async with drive(["春风", "岸"]) as on:
        await on.ask("甲")
        await on.pilot.press("alt+r", "江", "enter")
        await on.settled()
        await on.pilot.press("alt+c")
        await on.settled()
        assert on.backend.requests[-1].partial_reply == PartialReply("春风江")
        assert shown(on) == [("甲", "春风江岸")]
        assert say("tui.round.edited") in on.screen_text
        assert "3/3" in on.screen_text


def test_a_reply_does_not_continue_from_half_a_character_or_foreign_tokens() -> None:
    cut = Round(1, 1, None, "甲", "春\ufffd", "stopped", finish_reason="cancelled")
    pieces = (Piece(0, "春", 1), Piece(1, "", 2), Piece(1, "\ufffd"))
    assert continuation_of(cut, pieces, same_tokens=True) == (
        pieces[:2],
        PartialReply("春", (1, 2)),
    )
    assert continuation_of(cut, pieces, same_tokens=False)[1] == PartialReply("春")
    ended = replace(cut, state="done", reply="春", finish_reason="eos")
    assert continuation_of(ended, pieces, same_tokens=True)[1] == PartialReply("春")
    assert continuation_of(replace(cut, reply=""), (), same_tokens=True)[1] == PartialReply("")
