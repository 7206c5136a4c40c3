"""Warnings about models and rounds."""

from __future__ import annotations

from typing import Any

import pytest
from scripted_backend import ScriptedBackend

from chatui.messages import ModelSpec
from chatui.prompting import formats


async def test_warnings_are_shown_once(drive: Any) -> None:
    backend = ScriptedBackend(["一", "二"])
    backend.load_notes = ("Beams fall back to sampling.",)
    backend.round_notes = ("The server refused top_k.",)
    async with drive(backend=backend) as on:
        await on.ask("甲")
        await on.ask("乙")
        on.app.turns.switch(ModelSpec("xuxie", "/models/shiyou"))
        await on.ask("丙")
        assert sorted(on.notices) == ["Beams fall back to sampling.", "The server refused top_k."]


async def test_dropped_rounds_are_shown_during_and_after_the_reply(drive: Any) -> None:
    async with drive(["一", "春" * 60], delay_seconds=0.02) as on:
        await on.ask("甲")
        on.backend.dropped_rounds = 3
        await on.pilot.press("b", "enter")
        await on.until(lambda: len(on.views) == 2 and "春" in on.views[1].reply_text)
        await on.pilot.pause()
        words = "The oldest 3 rounds did not fit"
        assert words in on.screen_text
        await on.settled()
        assert words in on.screen_text


async def test_reset_is_a_round_of_one_line_that_later_prompts_begin_after(drive: Any) -> None:
    """The format begins the prompt after it; the engine answers it without the model."""
    line = "The chat was reset."
    async with drive(["一", line, "二"]) as on:
        await on.ask("甲")
        await on.ask("+reset")
        await on.ask("乙")
        assert line in on.screen_text
        history = on.backend.requests[-1].history
        assert history == (("甲", "一"), ("+reset", line))
        assert formats.get("chatrwkv").answer_to("+reset")
        prompt = formats.get("chatrwkv").render(history, "乙", None)
        assert "乙" in prompt
        assert "甲" not in prompt


async def test_a_speed_that_cannot_be_measured_is_not_shown(
    drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatui.tui.running_reply.MEASURABLE_SECONDS", 60.0)
    async with drive(["春风"], delay_seconds=0) as on:
        await on.ask("甲")
        shown = on.status.render().plain
        assert "context" in shown and "tokens/s" not in shown
