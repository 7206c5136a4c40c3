"""F2, Ctrl+B and F1."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from saved_conversations import add_conversation
from scripted_backend import ScriptedBackend
from textual.binding import Binding
from textual.events import Key
from textual.widgets import Input, OptionList

from chatui import catalog
from chatui.catalog import ModelEntry
from chatui.conversation.store import Store
from chatui.locales import say
from chatui.messages import Adapter, ModelSpec
from chatui.tui.app import ChatApp
from chatui.tui.keymap import key_label
from chatui.tui.screens import model_picker, model_rows
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.conversations import ConversationPicker
from chatui.tui.screens.help import HelpScreen
from chatui.tui.screens.model_picker import ModelPicker
from chatui.tui.screens.picker import Picker
from chatui.tui.screens.questions import LineQuestion, YesNoQuestion
from chatui.tui.screens.replay_screen import ReplayScreen
from chatui.tui.widgets.key_line import KeyLine
from chatui.tui.widgets.query_box import QueryBox

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


async def test_f2_lists_usable_models_first_and_switches(drive: Any, catalogue: None) -> None:
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


async def test_f2_searches(drive: Any, catalogue: None) -> None:
    async with drive() as on:
        options = await open_models(on)
        await on.pilot.press(*"goes on")
        await on.pilot.pause()
        assert options.option_count == 1
        await on.pilot.press("enter")
        await on.settled()
        assert on.app.turns.spec.name == "xuxie"


async def test_f2_takes_what_was_typed_however_fast_enter_comes(
    drive: Any, catalogue: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(settings: Any) -> tuple[ModelEntry, ...]:
        time.sleep(0.3)
        return ENTRIES

    monkeypatch.setattr(model_picker, "list_models", slowly)
    async with drive() as on:
        on.app.push_screen(ModelPicker(on.app.settings, on.app.turns.spec, on.app.turns.start_spec))
        chosen: list[str] = []
        monkeypatch.setattr(ModelPicker, "choose", lambda self, item: chosen.append(item.reference))
        await on.until(lambda: isinstance(on.app.screen, ModelPicker) and on.app.screen.is_mounted)
        for key in ("x", "u", "x", "enter"):
            on.app.post_message(Key(key, key if len(key) == 1 else None))
        await on.until(lambda: chosen)
        assert chosen == ["xuxie"]


async def test_f2_goes_back_to_the_model_of_the_start(drive: Any, catalogue: None) -> None:
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


async def test_the_model_of_the_start_comes_back_with_its_options(
    drive: Any, catalogue: None
) -> None:
    opened = ModelSpec("shiyou", "/m/shiyou", format="belle", adapters=(Adapter("/m/lora"),))
    async with drive(spec=opened) as on:
        for name in ("xuxie", "shiyou"):
            await open_models(on)
            await on.pilot.press(*name, "enter")
            await on.settled()
        assert on.app.turns.spec == opened


async def test_f2_lists_the_nearest_names_first(drive: Any, catalogue: None) -> None:
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


async def test_f2_offers_to_fetch_what_only_a_hub_may_have(drive: Any, catalogue: None) -> None:
    async with drive() as on:
        await open_models(on)
        await on.pilot.press(*"who/model-1b")
        await on.pilot.pause()
        assert "download it from the hub" in on.screen_text
        (entry,) = on.app.screen.shown
        assert entry.lacking == ("who/model-1b",) and not entry.usable


def test_why_a_model_is_not_to_be_chosen() -> None:
    def marks(**known: Any) -> list[str]:
        shown = model_picker.model_row(
            ModelEntry("x", usable=False, title="x", **known), False
        ).plain
        words = {name: say(f"tui.models.{name}") for name in ("missing", "adapter", "unusable")}
        return [name for name, word in words.items() if word in shown]

    assert marks(kind="preset", lacking=("a/b",)) == ["missing"]
    assert marks(kind="adapter", missing="for a/b") == ["adapter"]
    assert marks(kind="preset", missing="needs its own code") == ["unusable"]


async def test_f2_says_what_a_model_lacks(drive: Any, catalogue: None) -> None:
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


async def test_f2_in_mid_reply_takes_effect_with_the_next_round(
    drive: Any, catalogue: None
) -> None:
    async with drive(["春" * 10, "二"]) as on:
        on.backend.hold_after = 5
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text)
        await open_models(on)
        await on.pilot.press("down", "enter")
        await on.until(lambda: any("when this reply has ended" in one for one in on.notices))
        await on.pilot.press("b", "enter")
        on.backend.reply_gate.set()
        await on.settled()
        assert [(r.model, r.state) for r in on.rounds] == [("shiyou", "done"), ("xuxie", "done")]


@pytest.fixture
def store() -> Store:
    store = Store(None)
    add_conversation(store, ("春夜喜雨", "好雨知时节"), ("再来一首", "当春乃发生"))
    add_conversation(store, ("静夜思", "床前明月光"))
    add_conversation(store, ("[bold]markup[/bold] \x1b[31m", "疑是地上霜"))
    return store


async def open_conversations(on: Any) -> OptionList:
    await on.pilot.press("ctrl+b")
    await on.until(lambda: isinstance(on.app.screen, ConversationPicker))
    options: OptionList = on.app.screen.query_one(OptionList)
    await on.until(lambda: options.option_count)
    return options


async def test_ctrl_b_opens_a_conversation(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        options = await open_conversations(on)
        assert len(on.app.screen.shown) == 3
        assert str(options.get_option_at_index(0).prompt) == "Today"
        assert "[bold]markup[/bold]" in on.screen_text
        await on.pilot.press("down", "down", "enter")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["好雨知时节", "当春乃发生"]
        await on.pilot.press("up")
        assert on.box.query_text == "再来一首", "the history is the conversation's"


async def test_ctrl_b_searches_the_texts(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press(*"明月")
        await on.until(lambda: len(on.app.screen.shown) == 1)
        await on.pilot.pause()
        assert "床前明月光" in on.screen_text
        await on.pilot.press("enter")
        await on.pilot.pause()
        assert [view.reply_text for view in on.views] == ["床前明月光"]


async def test_ctrl_b_renames(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press("down", "ctrl+e")
        await on.until(lambda: isinstance(on.app.screen, LineQuestion))
        on.app.screen.query_one(Input).value = ""
        await on.pilot.press(*"李白", "enter")
        await on.until(lambda: "李白" in on.screen_text)
        assert {c.title for c in store.conversations()} >= {"李白"}
        await on.pilot.press("escape")


async def test_ctrl_b_deletes_and_brings_back(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press("down", "ctrl+d")
        await on.until(lambda: len(on.app.screen.shown) == 2)
        assert [each.title for each in store.deleted()] == ["静夜思"]
        assert on.app.screen.highlighted.title == "春夜喜雨", "what took its place"
        assert any("Ctrl+Z" in notice for notice in on.notices)
        await on.pilot.press("ctrl+z")
        await on.until(lambda: len(on.app.screen.shown) == 3)
        assert not store.deleted()
        await on.pilot.press("ctrl+z")
        await on.until(lambda: say("organise.list.nothing_deleted") in on.notices)


async def test_deleting_the_open_conversation_begins_a_new_one(drive: Any, store: Store) -> None:
    async with drive(store=store) as on:
        await open_conversations(on)
        await on.pilot.press("enter")
        await on.until(lambda: on.views)
        await open_conversations(on)
        await on.pilot.press("ctrl+d")
        await on.until(lambda: len(store.conversations()) == 2)
        await on.pilot.press("escape")
        await on.until(lambda: not on.views)
        assert on.app.turns.conversation is None


async def test_a_reply_goes_on_in_the_background_and_is_marked(drive: Any, store: Store) -> None:
    backend = ScriptedBackend(["春" * 60, "二"], delay_seconds=0.005)
    backend.hold_after = 20
    async with drive(store=store, backend=backend) as on:
        await on.pilot.press("a", "enter")
        await on.until(lambda: on.views and on.views[0].reply_text == "春" * 20)
        writing = on.app.turns.conversation.id
        await open_conversations(on)
        assert on.screen_text.count("● replying") == 1
        await on.pilot.press("down", "enter")
        await on.until(lambda: len(on.views) == 1 and on.views[0].round.query != "a")
        assert "replying in another conversation" in on.screen_text
        assert "春" not in on.screen_text
        await open_conversations(on)
        await on.pilot.press("enter")
        await on.until(lambda: on.views[0].round.query == "a")
        assert on.views[0].reply_text == "春" * 20
        backend.hold_after = 40
        backend.reply_gate.set()
        await on.until(lambda: len(on.views[0].reply_text) == 40)
        await on.pilot.press("ctrl+n")
        await open_conversations(on)
        assert on.screen_text.count("● replying") == 1
        backend.reply_gate.set()
        await on.until(lambda: "● replying" not in on.screen_text)
        assert any("Ctrl+B opens it" in notice for notice in on.notices)
        assert "in another conversation" not in on.screen_text
        (round_,) = store.rounds(writing)
        assert (round_.state, round_.reply) == ("done", "春" * 60)
        await on.pilot.press("enter")
        await on.until(lambda: on.views and on.views[0].reply_text == "春" * 60)


async def test_f1_shows_every_key(drive: Any) -> None:
    async with drive(size=(90, 210)) as on:
        await on.pilot.press("f1")
        await on.until(lambda: isinstance(on.app.screen, HelpScreen))
        await on.pilot.pause()
        # A long description goes on in the next row of the frame.
        text = re.sub(r"[│▁-█\s]+", " ", on.screen_text)
        screens = (QueryBox, ChatScreen, ChatApp, Picker, ModelPicker, ConversationPicker)
        for owner in (*screens, ReplayScreen, YesNoQuestion, LineQuestion):
            for binding in owner.__dict__["BINDINGS"]:
                assert isinstance(binding, Binding)
                assert key_label(binding.key) in text
                assert say(binding.description) in text
        await on.pilot.press("escape")
        await on.pilot.pause()
        assert isinstance(on.app.screen, ChatScreen)


async def test_what_wraps_in_f1_is_indented(drive: Any) -> None:
    async with drive(size=(84, 340), language="zh") as on:
        await on.pilot.press("f1")
        for width in (84, 40):
            await on.resize(width, 340)
            await on.until_shown(say("tui.help.files"))
            rows = [row for row in on.screen_text.splitlines()[:-2] if row.strip()]
            titles = [row.strip() for row in rows if not row.startswith("    ")]
            assert say("tui.help.writing") in titles and len(titles) == 15
            assert any(row.startswith("      ") for row in rows)


@pytest.mark.parametrize("lacking", [(), ("a/weights",)])
def test_f2_names_each_family_that_is_not_here_once(lacking: tuple[str, ...]) -> None:
    about = {"usable": False, "lacking": lacking, "system": "bell", "memory_bytes": 1 << 60}
    variants = [
        ModelEntry(name, "preset", name, "A family.", **about) for name in ("bell-7b", "bell")
    ]
    listed = model_rows.grouped_rows(variants, (), ())
    assert [each.plain.count("A family.") for each in listed.headings.values()] == [1]
    assert all("A family." not in each.plain for each in listed.rows)
    assert ("too large" in listed.rows[0].plain) is bool(lacking)


def test_key_names() -> None:
    assert key_label("ctrl+n") == "Ctrl+N"
    assert key_label("shift+enter,ctrl+j") == "Shift+Enter / Ctrl+J"
    assert key_label("plus,equals_sign,alt+plus") == "+ / = / Alt+Plus"
    assert key_label("escape,f1") == "Esc / F1"
    assert key_label("alt+left") == "Alt+←"


def test_every_stylesheet_stands_beside_its_module() -> None:
    folder = Path(model_picker.__file__).parents[1]
    for sheet in folder.rglob("*.tcss"):
        assert sheet.with_suffix(".py").exists()


def test_f2_groups_what_can_be_fetched_by_system() -> None:
    def preset(name: str, system: str, gigabytes: float, format: str) -> ModelEntry:
        return ModelEntry(
            name, "preset", name, f"About {system}.", format=format, lacking=(name,),
            usable=False, memory_bytes=int(gigabytes * 1e9), disk_bytes=1000, system=system,
        )  # fmt: skip

    listed = model_rows.grouped_rows(
        (
            preset("moss", "moss", 33, "moss"),
            preset("qwen3-8b", "qwen3", 16, "chat-template"),
            preset("qwen3", "qwen3", 1.5, "chat-template"),
            preset("qwen3-huge", "qwen3", 90_000, "chat-template"),
            ModelEntry("t5", "folder", "t5", usable=False, missing="Not a causal model."),
            ModelEntry("gpu:qwen", "server", "gpu:qwen"),
            *ENTRIES[1:3],
        ),
        current=("shiyou",),
        recent=("xuxie", "gone"),
    )
    names = [entry.reference for entry in listed.entries]
    assert names == [
        *("xuxie", "shiyou", "gpu:qwen"),
        *("qwen3", "qwen3-8b", "qwen3-huge", "moss", "t5"),
    ]
    assert {index: text.plain for index, text in listed.headings.items()} == {
        0: "On this machine",
        2: "On servers",
        3: "To download (Enter asks first)\n  qwen3  About qwen3.",
        6: "  moss  About moss.",
        7: "Not usable here\n  t5",
    }
    assert "too large" in listed.rows[5].plain and "too large" not in listed.rows[3].plain


async def test_keys_that_do_not_fit_are_shown_by_a_click(drive: Any) -> None:
    store = Store(None)
    add_conversation(store, ("甲", "春风"))
    async with drive(store=store, size=(40, 12)) as on:
        on.app.tell_user("what would cover a list as low as this", "information")
        await on.pilot.press("ctrl+b")
        await on.until_shown("甲")
        assert not on.notices
        seen = []
        for _ in range(6):
            line = on.app.screen.query_one(KeyLine)
            words = str(line.render())
            assert cell_len(words) <= line.content_size.width and words.endswith(" · …")
            seen.append(words)
            if "Alt+P pin" in words:
                break
            await on.pilot.click(line, offset=(cell_len(words) + line.gutter.left - 1, 0))
        assert "Enter open" in seen[0]
        await on.pilot.click(line, offset=(words.index("Alt+P") + line.gutter.left, 0))
        await on.until(lambda: store.conversations()[0].pinned)
