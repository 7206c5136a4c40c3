"""Alt+D: one query answered by several models or sampling settings, side by side."""

from __future__ import annotations

from typing import Any

import pytest
from driven import Driven
from saved_conversations import add_conversation
from scripted_backend import ScriptedBackend
from textual.widgets import Static

from chatui.conversation.store import Store
from chatui.messages import ModelSpec
from chatui.tui.comparison import Column
from chatui.tui.screens.compare import ColumnView, ComparedReply, CompareScreen
from chatui.tui.screens.variant_picker import VariantPicker, typed_variant
from chatui.tui.setting_changes import NO_CHANGES
from chatui.tui.wrapping import Span, overlay_spans

OTHER = ModelSpec("other", "/models/other")
BROKEN = ModelSpec("broken", "/models/broken")


async def begin(on: Driven, query: str, *specs: ModelSpec) -> CompareScreen:
    """A comparison of these models, begun as the list of variants would."""
    columns = tuple(Column(spec.name, spec) for spec in specs)
    screen = on.app.screen
    turns = on.app.turns
    comparison = turns.compare(query, columns)

    async def take(column: Column | None) -> None:
        await screen._show_rounds(await turns.close_comparison(comparison, column))

    compare = CompareScreen(turns, comparison)
    await on.app.push_screen(compare, take)
    return compare


def replies(on: Driven) -> list[str]:
    found = on.app.screen.query(ColumnView)
    return [view.reply.view.reply_text if view.reply else "" for view in found]


async def test_a_query_is_answered_twice_and_the_chosen_reply_continues(drive: Any) -> None:
    async with drive(["春风又绿", "春风吹绿", "好"], size=(100, 24)) as on:
        on.box.insert_text("写诗")
        await on.pilot.press("alt+d")
        await on.until(lambda: isinstance(on.app.screen, VariantPicker))
        assert "写诗" in on.screen_text
        await on.pilot.press("enter")
        await on.until(lambda: replies(on) == ["春风又绿", "春风吹绿"])
        await on.until(lambda: _marked(on) == [["又"], ["吹"]])
        await on.pilot.press("right", "enter")
        await on.settled()
        assert [view.round.reply for view in on.views] == ["春风吹绿"]
        first, second = on.store.siblings(on.rounds[0].id)
        assert (first.reply, second.reply) == ("春风又绿", "春风吹绿")
        assert "seed" in second.sampling["changed"] and "changed" not in first.sampling
        assert on.box.query_text == ""
        await on.ask("再来")
        assert on.backend.requests[-1].history == (("写诗", "春风吹绿"),)
        assert on.backend.requests[-1].sampling.seed == on.backend.requests[1].sampling.seed


def _marked(on: Driven) -> list[list[str]]:
    found = []
    for view in on.app.screen.query(ColumnView):
        lines = dict(view.reply._answer_lines()) if view.reply else {}
        differing = view.reply._differing if view.reply else {}
        spans = [(lines[number], span) for number, each in differing.items() for span in each]
        found.append([line[span.start : span.end] for line, span in spans])
    return found


async def test_a_failed_load_is_shown_in_its_column_and_the_others_continue(drive: Any) -> None:
    async with drive(["一", "二"], size=(110, 24)) as on:
        await on.settled()
        load = on.backend.load

        async def refuse(spec: ModelSpec) -> Any:
            on.backend.refuse_load = "No such weights." if spec == BROKEN else ""
            async for event in load(spec):
                yield event

        on.backend.load = refuse
        screen = await begin(on, "问", BROKEN, OTHER, on.app.turns.spec)
        await on.until(lambda: replies(on) == ["", "一", "二"])
        assert "No such weights." in str(screen.query(".state").first(Static).render())
        assert not on.notices
        await on.pilot.press("enter")
        assert on.app.screen is screen, "there is no reply in the first column"
        await on.pilot.press("2", "enter")
        await on.settled()
        assert on.app.turns.spec == OTHER
        assert [round_.reply for round_ in on.rounds] == ["一"]
        assert [each.model for each in on.store.siblings(on.rounds[0].id)] == ["other", "shiyou"]


async def test_esc_stops_and_a_second_esc_continues_with_the_first_reply(drive: Any) -> None:
    async with drive(["春风又绿"], size=(100, 24)) as on:
        await on.settled()
        on.backend.hold_after = 2
        compare = await begin(on, "问", on.app.turns.spec, OTHER)
        await on.until(lambda: replies(on) == ["春风", ""])
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.until(compare._comparison.finished.is_set)
        await on.until(lambda: "Not written" in on.screen_text)
        assert isinstance(on.app.screen, CompareScreen)
        await on.pilot.press("escape")
        await on.settled()
        (only,) = on.rounds
        assert (only.reply, only.state, only.versions) == ("春风", "stopped", 1)
        assert on.app.turns.spec.name == "shiyou"


async def test_a_load_can_be_stopped(drive: Any) -> None:
    async with drive(["好"], size=(100, 24)) as on:
        await on.settled()
        on.backend.load_gate.clear()
        await begin(on, "问", OTHER, BROKEN)
        await on.until(lambda: "5/20 MB" in on.screen_text)
        await on.pilot.press("escape")
        await on.until(lambda: "Loading was stopped." in on.screen_text)
        on.backend.load_gate.set()
        await on.pilot.press("escape")
        await on.settled()
        assert on.app.turns.spec.name == "shiyou" and on.app.turns.loaded is not None
        await on.ask("还在")
        assert on.rounds[-1].reply == "好"


async def test_a_comparison_waits_for_the_first_load_and_survives_its_failure(drive: Any) -> None:
    backend = ScriptedBackend()
    backend.load_gate.clear()
    backend.refuse_load = "No such weights."
    async with drive(backend=backend, size=(100, 24)) as on:
        on.box.insert_text("问")
        await on.pilot.press("alt+d")
        await on.until(lambda: isinstance(on.app.screen, VariantPicker))
        await on.pilot.press("enter")
        await on.until(lambda: "waiting for its turn" in on.screen_text)
        await on.pilot.press("escape")
        await on.until(lambda: "Not written" in on.screen_text)
        await on.pilot.press("escape")
        await on.until(lambda: on.box.query_text == "问")
        await on.pilot.press("alt+d")
        await on.until(lambda: isinstance(on.app.screen, VariantPicker))
        await on.pilot.press("enter")
        await on.until(lambda: isinstance(on.app.screen, CompareScreen))
        backend.load_gate.set()
        await on.until(lambda: on.screen_text.count("No such weights.") > 1)
        await on.pilot.press("escape")
        await on.until(lambda: on.box.query_text == "问")


async def test_streamed_text_is_saved_before_a_reply_is_chosen(drive: Any) -> None:
    async with drive(["春风又绿"], size=(100, 24)) as on:
        await on.settled()
        on.backend.hold_after = 3
        compare = await begin(on, "问", on.app.turns.spec, OTHER)
        await on.until(lambda: on.app.turns.conversation and on.rounds[0].reply == "春风又")
        assert on.app.turns.unsent_texts == ()
        await on.pilot.press("escape")
        on.backend.reply_gate.set()
        await on.until(compare._comparison.finished.is_set)
        await on.until(lambda: "Not written" in on.screen_text)
        await on.pilot.press("escape")
        await on.settled()


@pytest.mark.parametrize("size", [(140, 45), (40, 12)])
async def test_an_existing_reply_is_compared_and_another_chosen_by_mouse(
    drive: Any, size: tuple[int, int]
) -> None:
    store = Store(None)
    add_conversation(store, ("你好", "春風"))
    async with drive(["秋風"], store=store, size=size) as on:
        await on.pilot.press("ctrl+o")
        await on.settled()
        on.box.set_query("/compare")
        await on.pilot.press("escape", "enter")
        await on.until(lambda: isinstance(on.app.screen, VariantPicker))
        await on.pilot.press("enter")
        await on.until(lambda: replies(on) == ["春風", "秋風"])
        await on.until(lambda: _marked(on) == [["春"], ["秋"]])
        view = on.app.screen.query(ColumnView).last()
        await on.pilot.click(view.query_one(".title"))
        assert view.has_class("-chosen")
        await on.pilot.click("KeyLine", offset=(3, 0))
        await on.settled()
        assert [round_.reply for round_ in on.rounds] == ["秋風"]
        assert on.rounds[0].versions == 2


async def test_compare_asks_for_a_query_without_one(drive: Any) -> None:
    async with drive(["一", "二"], size=(100, 24)) as on:
        await on.settled()
        await on.pilot.press("alt+d", *"问", "enter")
        await on.until(lambda: isinstance(on.app.screen, VariantPicker))
        await on.pilot.press("escape")
        await on.until(lambda: on.box.query_text == "问")


def test_typed_sampling_settings_are_a_variant() -> None:
    spec = ModelSpec("a", "a")
    found = typed_variant(spec, NO_CHANGES, "temp=0.3,top_p=0.9")
    assert found is not None and found.title == "a · temperature 0.3, top_p 0.9"
    assert found.changes.sampling_for(spec).top_p == 0.9
    assert (
        typed_variant(spec, NO_CHANGES, "qwen") is None
        and typed_variant(spec, NO_CHANGES, "") is None
    )


def test_differences_are_laid_over_markdown_styles() -> None:
    spans = (Span(0, 3, "strong"), Span(5, 6, "code"))
    assert overlay_spans(spans, (Span(2, 4, "differs"),)) == (
        Span(0, 2, "strong"),
        Span(2, 3, "strong differs"),
        Span(3, 4, "differs"),
        Span(5, 6, "code"),
    )


@pytest.mark.parametrize("size", [(100, 16), (60, 16)])
async def test_a_column_follows_its_growing_reply_until_the_user_scrolls(
    drive: Any, size: tuple[int, int]
) -> None:
    lines = [f"第{number}行\n" for number in range(50)]
    async with drive([lines, lines], size=size) as on:
        await on.settled()
        on.backend.hold_after = 30
        await begin(on, "问", on.app.turns.spec, OTHER)
        await on.until_shown("第29行")
        await on.pilot.press(*["up"] * 8)
        await on.pilot.pause()
        assert "第29行" not in on.screen_text
        on.backend.hold_after = None
        on.backend.reply_gate.set()
        await on.until(lambda: "第49行" in replies(on)[1])
        await on.pilot.pause()
        assert "第20行" in on.screen_text
        await on.pilot.press(*["pagedown"] * 10)
        assert "第49行" in on.screen_text


async def test_differences_of_unrelated_replies_are_not_highlighted(drive: Any) -> None:
    async with drive(["东风吹雨过春城", "明月何时照我还"], size=(100, 24)) as on:
        await on.settled()
        marked: list[object] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                ComparedReply, "highlight_differences", lambda _, spans: marked.append(spans)
            )
            await begin(on, "问", on.app.turns.spec, OTHER)
            await on.until(lambda: len(marked) == 2)
        assert marked == [(), ()]
