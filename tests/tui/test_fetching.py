"""Downloads from the model picker, while the chat goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chatui import catalog, locations
from chatui.catalog import ModelEntry
from chatui.messages import ModelSpec
from chatui.tui.screens.chat import ChatScreen
from chatui.tui.screens.model_picker import ModelPicker
from chatui.tui.screens.questions import YesNoQuestion
from chatui.tui.widgets.fetch_bar import FetchBar

SLOWLY = 60_000
"""Bytes a second of each file: the preset takes five seconds."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A hub on loopback with the one repository of the preset "mine"."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "catalog"))
    from hub_server import HubServer
    from huggingface_hub import constants
    from served_models import serve_model

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    preset = locations.user_presets_folder() / "mine.toml"
    preset.parent.mkdir(parents=True, exist_ok=True)
    preset.write_text('format = "belle"\nfamily = "llama"\nbase = { hf = "you/model" }\n')
    with HubServer() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        serve_model(running, tmp_path)
        yield running


def bar_of(on: Any) -> FetchBar:
    bar: FetchBar = on.app.screen_stack[0].query_one(FetchBar)
    return bar


async def choose_mine(on: Any) -> None:
    await on.pilot.press("f2")
    await on.until(lambda: isinstance(on.app.screen, ModelPicker) and on.app.screen.shown)
    await on.pilot.press(*"mine")
    await on.until(lambda: [entry.reference for entry in on.app.screen.shown] == ["mine"])
    await on.pilot.press("enter")


async def begin(on: Any) -> None:
    await choose_mine(on)
    await on.until(lambda: isinstance(on.app.screen, YesNoQuestion))
    await on.pilot.press("y")
    await on.until(lambda: isinstance(on.app.screen, ChatScreen) and bar_of(on).running)


async def test_a_model_is_downloaded_during_a_chat(drive: Any, hub: Any) -> None:
    hub.faults.bytes_per_second = SLOWLY
    async with drive(["一", "二"], size=(100, 24)) as on:
        await choose_mine(on)
        await on.until(lambda: isinstance(on.app.screen, YesNoQuestion))
        await on.pilot.pause()
        assert "Download mine? 8 files" in on.screen_text
        assert "kB" in on.screen_text
        await on.pilot.press("y")
        await on.until(lambda: "━" in on.screen_text and "Ctrl+G stop" in on.screen_text)
        await on.ask("甲")
        assert on.rounds[0].reply == "一"
        assert bar_of(on).running == "mine", "the reply did not wait for the download"
        hub.faults.bytes_per_second = 0
        await on.until(lambda: "mine is ready" in on.screen_text, 20)
        await on.until(lambda: any("mine has been downloaded" in one for one in on.notices))
        await on.pilot.press("ctrl+g")
        await on.until(lambda: on.backend.specs[-1].name == "mine")
        assert Path(on.backend.specs[-1].path).is_relative_to(hub_cache())
        await on.ask("乙")
        assert [round_.model for round_ in on.rounds] == ["shiyou", "mine"]
        assert not bar_of(on).display


def hub_cache() -> Path:
    from chatui.catalog.local_models import hugging_face_cache

    return hugging_face_cache()


async def test_the_stop_key_is_shown_at_any_width(drive: Any, hub: Any) -> None:
    hub.faults.bytes_per_second = SLOWLY
    async with drive(size=(80, 20)) as on:
        await begin(on)
        await on.until(lambda: "left" in on.screen_text and "Ctrl+G stop" in on.screen_text)
        await on.resize(40, 20)
        await on.until(lambda: "left" not in on.screen_text and "Ctrl+G stop" in on.screen_text)
        assert "%" in on.screen_text


async def test_a_stopped_download_is_resumed(drive: Any, hub: Any) -> None:
    hub.faults.bytes_per_second = SLOWLY
    async with drive() as on:
        await begin(on)
        await on.until(lambda: "%" in on.screen_text and " 0%" not in on.screen_text, 20)
        await choose_mine(on)
        await on.until(lambda: "wait for it" in on.screen_text)
        await on.pilot.press("ctrl+g")
        await on.until(lambda: any("was stopped" in notice for notice in on.notices))
        assert isinstance(on.app.screen, ModelPicker)
        assert "wait for it" not in on.screen_text
        await on.pilot.press("escape")
        assert not bar_of(on).display
        sent = sum(hub.sent.values())
        assert sent < 900_000
        hub.faults.bytes_per_second = 0
        await choose_mine(on)
        await on.until(lambda: "already downloaded" in on.screen_text, 20)
        await on.pilot.press("y")
        await on.until(lambda: "mine is ready" in on.screen_text, 20)


async def test_an_open_list_offers_another_download_after_the_first(
    drive: Any, hub: Any, tmp_path: Path
) -> None:
    from served_models import serve_model

    serve_model(hub, tmp_path, "you/other")
    hub.faults.bytes_per_second = SLOWLY
    async with drive() as on:
        await begin(on)
        await on.pilot.press("f2", *"you/other", "enter")
        await on.until(lambda: "wait for it" in on.screen_text)
        hub.faults.bytes_per_second = 0
        await on.until(lambda: any("mine has been downloaded" in one for one in on.notices), 20)
        await on.pilot.press("enter")
        await on.until(lambda: "Download you/other?" in on.screen_text)


async def test_a_downloaded_model_that_cannot_run_is_reported(drive: Any, hub: Any) -> None:
    folder = hub.repositories["you/model"].files["config.json"].source.parent
    (folder / "config.json").write_text('{"model_type": "zebra", "architectures": ["Zebra"]}')
    hub.add("you/zebra", folder)
    async with drive() as on:
        await on.pilot.press("f2", *"you/zebra", "enter")
        await on.until(lambda: isinstance(on.app.screen, YesNoQuestion))
        await on.pilot.press("y")
        await on.until(lambda: on.notices, 20)
        assert "model type “zebra”" in on.notices[0]
        assert len(on.notices) == 1
        assert not bar_of(on).display


async def test_no_keeps_the_list_open_and_downloads_nothing(drive: Any, hub: Any) -> None:
    async with drive() as on:
        await choose_mine(on)
        await on.until(lambda: isinstance(on.app.screen, YesNoQuestion))
        await on.pilot.press("enter")
        await on.until(lambda: isinstance(on.app.screen, ModelPicker))
        await on.pilot.press("escape")
        assert not hub.sent
        await on.pilot.press("ctrl+g")
        await on.pilot.pause()
        assert "Nothing is being downloaded" in on.notices[0]


async def test_a_refusal_of_the_hub_is_shown_in_the_list(drive: Any, hub: Any) -> None:
    hub.repositories.clear()
    async with drive() as on:
        await choose_mine(on)
        await on.until(lambda: "you/model" in on.screen_text, 20)
        assert isinstance(on.app.screen, ModelPicker)


async def test_a_failed_download_is_reported(drive: Any, hub: Any) -> None:
    hub.faults.status = {"model-00001-of-00003.safetensors": [403] * 9}
    async with drive() as on:
        await choose_mine(on)
        await on.until(lambda: isinstance(on.app.screen, YesNoQuestion))
        await on.pilot.press("y")
        await on.until(lambda: on.notices, 30)
        assert len(on.notices) == 1
        assert not bar_of(on).display
        await on.ask("甲")


async def test_quitting_keeps_the_downloaded_part(drive: Any, hub: Any) -> None:
    hub.faults.bytes_per_second = SLOWLY
    async with drive() as on:
        await begin(on)
        await on.until(lambda: "%" in on.screen_text and " 0%" not in on.screen_text, 20)
        await on.pilot.press("ctrl+q")
        await on.until(lambda: not on.app.is_running)
    assert list(hub_cache().rglob("*.incomplete"))


async def test_the_welcome_page_offers_a_chat_model(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with drive() as on:
        await on.until(lambda: "F9  Chat about anything: download qwen3 (1.5 GB)" in on.screen_text)
        await on.ask("一")
        assert "F9  Chat" not in on.screen_text
    here = ModelEntry("mine", "folder", "mine", disk_bytes=10**9)
    monkeypatch.setattr(catalog, "recommended_model", lambda memory, settings: here)
    monkeypatch.setattr(catalog, "resolve", lambda name, settings: ModelSpec(name, f"/m/{name}"))
    async with drive() as on:
        await on.until(lambda: "with mine, which is on this machine" in on.screen_text)
        await on.pilot.press("f9")
        await on.settled()
        assert on.app.turns.spec.name == "mine"
        assert "F9  Chat" not in on.screen_text, "this model talks about anything"
