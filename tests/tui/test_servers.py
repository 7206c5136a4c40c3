"""A server's model in the app, and a local one in the same conversation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driven import Driven
from textual.widgets import OptionList

from chatui import locations
from chatui.cli import parser, request
from chatui.conversation.store import Store
from chatui.tui.app import ChatApp
from chatui.tui.screens.model_picker import ModelPicker

SHORT = "[sampling]\nmax_new_tokens = 8\n"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A small server over a tiny real model."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "backends"))
    from tiny_server import TinyServer, make_model, serving

    with serving(TinyServer(make_model(tmp_path / "tiny"))) as server:
        yield server


async def test_switching_between_a_server_and_this_machine(served: Any, forking: None) -> None:
    """``chatui --server URL``, then 诗友 by F2, then the server again."""
    if not (locations.assets_folder() / "shiyou" / "config.json").is_file():
        pytest.skip("the embedded model is not there")
    file = locations.settings_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SHORT)
    typed = ["--server", served.url]
    args = parser.build(typed).parse_args(typed)
    settings = request.settings_of(args)
    spec = await asyncio.to_thread(request.spec_of, args, settings)
    app = ChatApp(settings, spec, Store(None))
    async with app.run_test(size=(100, 30)) as pilot:
        on = Driven(app, pilot, None, app.store)  # type: ignore[arg-type]

        async def ask(query: str, rounds: int) -> None:
            on.box.set_query(query)
            await pilot.press("enter")
            await on.until(lambda: len(on.views) == rounds, 60)
            await on.until(lambda: on.rounds[-1].state != "streaming", 60)

        async def choose(name: str) -> None:
            await pilot.press("f2")
            await on.until(lambda: isinstance(app.screen, ModelPicker))
            await pilot.press(*name)
            await on.until(lambda: [e.reference for e in app.screen.shown][:1] == [name])
            options = app.screen.query_one(OptionList)
            await on.until(lambda: options.highlighted == 0)
            await pilot.press("enter")
            await on.until(lambda: app.turns.spec.name == name)

        host = served.url.removeprefix("http://").removesuffix("/v1")
        await ask("hello", 1)
        await choose("shiyou")
        await ask("写一首五言绝句，题目是《春夜》", 2)
        await choose(f"{host}:tiny")
        await ask("again", 3)
        rounds = on.rounds
    assert [round_.state for round_ in rounds] == ["done"] * 3, [r.error for r in rounds]
    assert all(round_.reply for round_ in rounds)
    assert rounds[0].model == f"{host}:tiny"  # which the start had not named
    assert rounds[1].model == "shiyou"
    assert rounds[2].model == f"{host}:tiny"
    messages = served.record.bodies[-1]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2 + ["user"]
    assert messages[3]["content"] == rounds[1].reply


async def test_a_server_that_is_none_leaves_the_app_running() -> None:
    typed = ["--server", "http://127.0.0.1:9"]
    args = parser.build(typed).parse_args(typed)
    settings = request.settings_of(args)
    app = ChatApp(settings, request.spec_of(args, settings), Store(None))
    async with app.run_test() as pilot:
        on = Driven(app, pilot, None, app.store)  # type: ignore[arg-type]
        await on.until(lambda: on.notices, 20)
        assert len(on.notices) == 1
        assert "127.0.0.1:9" in on.notices[0]
        assert app.is_running
