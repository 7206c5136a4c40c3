"""F2: the picker of the model for the next round."""

from __future__ import annotations

import time
from typing import Any

import pytest
from textual.events import Key
from textual.widgets import OptionList

from chatui import catalog
from chatui.catalog import ModelEntry
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.tui.screens import model_picker
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.model_picker import ModelPicker
from chatui.tui.widgets.fetch_bar import FetchBar

ENTRIES = (
    ModelEntry(
        "shut", "preset", "BELLE [7B]", "By LianjiaTech.", usable=False, missing="To fetch: x."
    ),
    ModelEntry("shiyou", "preset", "诗友", "Writes poems.", family="gpt2"),
    ModelEntry("xuxie", "preset", "续写", "Goes on from the text.", family="gpt2"),
    ModelEntry("/m/\x1b[31mred", "folder", "/m/\x1b[31mred", "", usable=True),
)


@pytest.fixture
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_picker, "list_models", lambda settings: ENTRIES)
    monkeypatch.setattr(catalog, "resolve", lambda name, settings: ModelSpec(name, f"/m/{name}"))


async def open_models(on: Any) -> OptionList:
    await on.pilot.press("f2")
    await on.until(lambda: isinstance(on.app.screen, ModelPicker))
    options: OptionList = on.app.screen.query_one(OptionList)
    await on.until(lambda: options.option_count)
    return options


async def test_usable_models_come_first_and_a_choice_switches(drive: Any, catalogue: None) -> None:
    async with drive(["一", "二"]) as on:
        await on.ask("甲")
        await open_models(on)
        await on.pilot.pause()
        assert len(on.app.screen.shown) == 4
        assert on.app.screen.highlighted.reference == "shiyou", "the current model"
        assert "BELLE [7B]" in on.screen_text
        assert "␛[31mred" in on.screen_text
        assert on.screen_text.index("诗友") < on.screen_text.index("BELLE")
        await on.pilot.press("down", "enter")
        await on.settled()
        assert on.app.turns.spec.name == "xuxie"
        await on.ask("乙")
        assert [round_.model for round_ in on.rounds] == ["shiyou", "xuxie"]


async def test_a_search_finds_descriptions(drive: Any, catalogue: None) -> None:
    async with drive() as on:
        options = await open_models(on)
        await on.pilot.press(*"goes on")
        await on.pilot.pause()
        assert options.option_count == 1
        await on.pilot.press("enter")
        await on.settled()
        assert on.app.turns.spec.name == "xuxie"


async def test_enter_waits_for_the_search(
    drive: Any, catalogue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(settings: Any) -> tuple[ModelEntry, ...]:
        time.sleep(0.3)
        return ENTRIES

    monkeypatch.setattr(model_picker, "list_models", slowly)
    async with drive() as on:
        on.app.push_screen(ModelPicker(on.app.screen.query_one(FetchBar)))
        chosen: list[str] = []
        monkeypatch.setattr(ModelPicker, "choose", lambda self, item: chosen.append(item.reference))
        await on.until(lambda: isinstance(on.app.screen, ModelPicker) and on.app.screen.is_mounted)
        for key in ("x", "u", "x", "enter"):
            on.app.post_message(Key(key, key if len(key) == 1 else None))
        await on.until(lambda: chosen)
        assert chosen == ["xuxie"]


async def test_the_model_of_the_start_can_be_chosen_again(drive: Any, catalogue: None) -> None:
    async with drive() as on:
        on.app.turns.start_spec = on.app.turns.spec = ModelSpec("mine", "/m/mine")
        await open_models(on)
        await on.pilot.pause()
        assert "the model chatui was started with" in on.screen_text
        await on.pilot.press(*"xuxie", "enter")
        await on.settled()
        assert on.app.turns.spec.name == "xuxie"
        await open_models(on)
        await on.pilot.press(*"mine", "enter")
        await on.settled()
        assert on.app.turns.spec is on.app.turns.start_spec


async def test_the_model_of_the_start_keeps_its_options(drive: Any, catalogue: None) -> None:
    opened = ModelSpec("shiyou", "/m/shiyou", format="belle", adapters=(Adapter("/m/lora"),))
    async with drive(spec=opened) as on:
        for name in ("xuxie", "shiyou"):
            await open_models(on)
            await on.pilot.press(*name, "enter")
            await on.settled()
        assert on.app.turns.spec == opened


async def test_the_best_matches_come_first(drive: Any, catalogue: None) -> None:
    async with drive() as on:
        await open_models(on)
        await on.pilot.press(*"go")
        await on.pilot.pause()
        assert [entry.reference for entry in on.app.screen.shown] == ["xuxie"]
        nearness = [
            model_picker.match_rank(ENTRIES[1], words)
            for words in ("shiyou", "shi", "iyou", "poems")
        ]
        assert nearness == [0, 1, 2, 3]


async def test_a_typed_repository_id_can_be_downloaded(drive: Any, catalogue: None) -> None:
    async with drive() as on:
        await open_models(on)
        await on.pilot.press(*"who/model-1b")
        await on.pilot.pause()
        assert "download it from the hub" in on.screen_text
        (entry,) = on.app.screen.shown
        assert entry.lacking == ("who/model-1b",) and not entry.usable


def test_a_row_says_why_a_model_cannot_run() -> None:
    def marks(**known: Any) -> list[str]:
        shown = model_picker.model_row(
            ModelEntry("x", usable=False, title="x", **known), False
        ).plain
        words = {name: say(f"tui.models.{name}") for name in ("missing", "adapter", "unusable")}
        return [name for name, word in words.items() if word in shown]

    assert marks(kind="preset", lacking=("a/b",)) == ["missing"]
    assert marks(kind="adapter", missing="for a/b") == ["adapter"]
    assert marks(kind="preset", missing="needs its own code") == ["unusable"]


async def test_choosing_an_unusable_model_says_why(drive: Any, catalogue: None) -> None:
    async with drive() as on:
        await open_models(on)
        await on.pilot.press(*"belle", "enter")
        await on.pilot.pause()
        assert "To fetch: x." in on.notices
        assert isinstance(on.app.screen, ModelPicker)
        await on.pilot.press("backspace", *"zzz")
        await on.pilot.pause()
        assert "Nothing found." in on.screen_text
        await on.pilot.press("enter", "escape")
        await on.pilot.pause()
        assert isinstance(on.app.screen, ChatScreen)
        assert on.app.turns.spec.name == "shiyou"


async def test_a_choice_during_a_reply_applies_to_the_next_round(
    drive: Any, catalogue: None
) -> None:
    async with drive(["春" * 10, "二"]) as on:
        on.backend.hold_after = 5
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text)
        await open_models(on)
        await on.pilot.press("down", "enter")
        await on.until(lambda: any("answers after this reply" in one for one in on.notices))
        await on.pilot.press("b", "enter")
        on.backend.reply_gate.set()
        await on.settled()
        assert [(r.model, r.state) for r in on.rounds] == [("shiyou", "done"), ("xuxie", "done")]


@pytest.mark.parametrize("lacking", [(), ("a/weights",)])
def test_variants_of_a_system_share_one_description(lacking: tuple[str, ...]) -> None:
    about = {"usable": False, "lacking": lacking, "system": "bell", "memory_bytes": 1 << 60}
    variants = [
        ModelEntry(name, "preset", name, "A family.", **about) for name in ("bell-7b", "bell")
    ]
    listed = list(model_picker.grouped(variants, ()))
    assert [heading.plain.count("A family.") for _, heading, _ in listed] == [1, 1]
    rows = [model_picker.variant_row(entry).plain for entry, _, _ in listed]
    assert all("A family." not in row for row in rows)
    assert ("too large" in rows[0]) is bool(lacking)


def test_models_to_download_are_grouped_by_system() -> None:
    def preset(name: str, system: str, gigabytes: float, format: str) -> ModelEntry:
        return ModelEntry(
            name, "preset", name, f"About {system}.", format=format, lacking=(name,),
            usable=False, memory_bytes=int(gigabytes * 1e9), disk_bytes=1000, system=system,
        )  # fmt: skip

    listed = model_picker.grouped(
        (
            preset("moss", "moss", 33, "moss"),
            preset("qwen3-8b", "qwen3", 16, "chat-template"),
            preset("qwen3", "qwen3", 1.5, "chat-template"),
            preset("qwen3-huge", "qwen3", 90_000, "chat-template"),
            ModelEntry("t5", "folder", "t5", usable=False, missing="Not a causal model."),
            ModelEntry("gpu:qwen", "server", "gpu:qwen"),
            *ENTRIES[1:3],
        ),
        recent=("xuxie", "gone"),
    )
    title, download, bad = "On this machine", "To download (Enter asks first)", "Not usable here"
    assert [(entry.reference, heading.plain) for entry, heading, _ in listed] == [
        *((name, title) for name in ("xuxie", "shiyou")),
        ("gpu:qwen", "On servers"),
        *(
            (name, f"{download}\n  qwen3  About qwen3.")
            for name in ("qwen3", "qwen3-8b", "qwen3-huge")
        ),
        ("moss", "  moss  About moss."),
        ("t5", f"{bad}\n  t5"),
    ]
    rows = [model_picker.variant_row(preset("x", "x", size, "moss")).plain for size in (90_000, 16)]
    assert "too large" in rows[0] and "too large" not in rows[1]
