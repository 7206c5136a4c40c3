"""F2 lists what servers offer beside what lies on the disk."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chatui.catalog import ModelEntry
from chatui.messages import ModelSpec
from chatui.settings import Server, Settings
from chatui.tui.screens import model_picker
from chatui.tui.screens.model_picker import ModelPicker


async def test_a_servers_models_come_when_it_answers(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []

    async def answer(settings: Settings) -> tuple[ModelEntry, ...]:
        asked.append(settings)
        return (ModelEntry("gpu:qwen3", "server", "gpu:qwen3", "On the server http://gpu/v1."),)

    monkeypatch.setattr(model_picker, "server_entries", answer)
    settings = Settings(servers=(Server("http://gpu", "gpu"),))
    async with drive(settings=settings) as on:
        await on.pilot.press("f2")
        await on.until(lambda: isinstance(on.app.screen, ModelPicker))
        await on.until(lambda: "gpu:qwen3" in [entry.reference for entry in on.app.screen.shown])
        assert len(on.app.screen.shown) > 2  # the catalog is there too
        chosen: list[ModelSpec] = []
        monkeypatch.setattr(on.app.turns, "switch", chosen.append)
        await on.pilot.press(*"gpu", "enter")
        await on.until(lambda: chosen)
    spec = chosen[0]
    assert asked == [settings]
    assert (spec.backend, spec.server, spec.path) == ("openai", "http://gpu/v1", "qwen3")


async def test_what_the_user_moved_to_stays_when_a_server_answers(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def answer(settings: Settings) -> tuple[ModelEntry, ...]:
        await gate.wait()
        return (ModelEntry("gpu:qwen3", "server", "gpu:qwen3", "On the server http://gpu/v1."),)

    monkeypatch.setattr(model_picker, "server_entries", answer)
    async with drive() as on:
        await on.pilot.press("f2")
        await on.until(lambda: isinstance(on.app.screen, ModelPicker) and on.app.screen.shown)
        await on.pilot.press("down")
        before, pointed_at = len(on.app.screen.shown), on.app.screen.highlighted
        gate.set()
        await on.until(lambda: len(on.app.screen.shown) > before)
        assert pointed_at is not None and on.app.screen.highlighted == pointed_at


def test_a_server_that_does_not_answer_is_not_said_to_be_missing_here() -> None:
    reason = "Nobody answers at http://gpu/v1."
    entry = ModelEntry("gpu", "server", "gpu", reason, usable=False, missing=reason)
    assert model_picker.model_row(entry, False).plain == f"  gpu\n  {reason}"
