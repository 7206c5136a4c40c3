"""The app while it records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder
from chatui.conversation.transcript_writer import to_lines


async def test_the_app_records_a_transcript(drive: Any, tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    store = RecordingStore(tmp_path / "c.db", TranscriptRecorder(file))
    async with drive(["好的", "再好"], store=store) as app:
        for query in ("一", "二"):
            await app.pilot.press(*query, "enter")
            await app.until(lambda: not app.app.turns.is_busy)
        read = read_transcript(file)
        assert [(each.query, each.reply, each.state) for each in read.rounds] == [
            ("一", "好的", "done"),
            ("二", "再好", "done"),
        ]
        assert [each["type"] for each in read.others] == ["model"]
        exported = store.transcript(app.rounds[0].conversation_id)
        assert read.rounds == read_transcript("".join(to_lines(exported)).encode(), name="x").rounds
    store.close()


async def test_a_full_disk_is_reported(drive: Any, tmp_path: Path) -> None:
    recorder = TranscriptRecorder(tmp_path / "r.jsonl")
    recorder.close()
    recorder._descriptor = -1
    store = RecordingStore(None, recorder)
    async with drive(["好的"], store=store) as app:
        await app.pilot.press("一", "enter")
        await app.until(lambda: app.notices)
        await app.until(lambda: not app.app.turns.is_busy)
        assert "cannot be written" in app.notices[0]
        assert app.rounds[0].reply == "好的"
    store.close()
