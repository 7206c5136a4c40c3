"""Recording transcripts during a conversation, with crashes and full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from example_transcripts import check, lines

from chatui.catalog.model_description import model_description, weights_fingerprint
from chatui.conversation.rounds import Piece, RenderedPrompt, Round
from chatui.conversation.store import Store
from chatui.conversation.transcript_reader import read_transcript
from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder
from chatui.conversation.transcript_writer import to_lines
from chatui.errors import ChatuiError
from chatui.messages import Adapter, Loaded, ModelSpec

TALKING = """
import sys, time
from pathlib import Path
from dataclasses import replace
from chatui.conversation.transcript_recorder import RecordingStore, TranscriptRecorder
from chatui.conversation.rounds import Piece
store = RecordingStore(Path(sys.argv[1]), TranscriptRecorder(Path(sys.argv[2])))
conversation = parent = None
while True:
    begun = store.add_round(conversation, parent, "问")
    conversation, parent = begun.conversation_id, begun.id
    for at in range(20):
        store.append_pieces(begun.id, [Piece(at * 0.001, "春江潮水连海平" * 20, at)])
        print("x", flush=True)
    store.finish_round(replace(begun, state="done", reply="春江潮水连海平" * 400))
"""


def talk(store: Store) -> tuple[Round, Round]:
    """Add two versions of a round, with prompt and tokens."""
    one = store.add_round(None, None, "问\ud800", "诗友", "shiyou", {"top_k": 5})
    store.save_prompt(one.id, RenderedPrompt("提示", (1, 2, 3), dropped_rounds=1))
    store.append_pieces(one.id, [Piece(0.1, "甲", 5, -0.5), Piece(0.2, " 乙 ")])
    one = replace(one, state="done", reply="甲 乙", seed=7, prompt_tokens=3, reused_tokens=1)
    one = store.finish_round(replace(one, seconds=0.5, output_tokens=3), [Piece(0.3, "")])
    two = store.add_round(one.conversation_id, None, "问\ud800", "诗友")
    two = store.finish_round(replace(two, state="failed", error="x"), ())
    store.set_head(one.conversation_id, one.id)
    return one, two


def test_ratings_notes_and_corrections_are_recorded(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    store = RecordingStore(tmp_path / "c.db", TranscriptRecorder(file))
    one, _ = talk(store)
    right = store.add_round(
        one.conversation_id, None, "问", "诗友", sampling={"edited": True}, corrects_id=one.id
    )
    store.finish_round(replace(right, state="done", reply="正"))
    store.rate(one.id, -1)
    store.rate(one.id, note="平仄\n不合")
    store.rate(right.id, 1, "好")
    store.rate(right.id, 0)
    store.close()
    check(file.read_bytes())
    events = [
        each for each in lines(file.read_bytes()) if each.get("type") in ("edit", "rating", "note")
    ]
    for each in events:
        del each["t"]
    assert events == [
        {"type": "edit", "round": 3, "of": 1},
        {"type": "rating", "round": 1, "rating": -1},
        {"type": "note", "round": 1, "text": "平仄\n不合"},
        {"type": "rating", "round": 3, "rating": 1},
        {"type": "note", "round": 3, "text": "好"},
        {"type": "rating", "round": 3, "rating": 0},
    ]
    read = read_transcript(file).rounds
    assert [(each.rating, each.note, each.corrects_id) for each in read] == [
        (-1, "平仄\n不合", None),
        (0, "", None),
        (0, "好", 1),
    ]


def test_a_recording_equals_the_stored_conversation(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    store = RecordingStore(tmp_path / "c.db", TranscriptRecorder(file))
    store.set_model(lambda: {"name": "诗友", "weights": ""})
    one, _ = talk(store)
    check(file.read_bytes())
    recorded = read_transcript(file)
    exported = read_transcript(
        "".join(to_lines(store.transcript(one.conversation_id))).encode(),
        name="x",
    )
    same = replace(exported.conversation, updated_at=recorded.conversation.updated_at)
    assert replace(recorded, others=()) == replace(exported, conversation=same)
    assert [other["name"] for other in recorded.others] == ["诗友"]
    assert oct(file.stat().st_mode)[-3:] == "600"
    store.close()


def test_each_conversation_has_a_file_with_its_earlier_rounds(tmp_path: Path) -> None:
    store = Store(tmp_path / "c.db")
    one, _ = talk(store)
    store.close()
    (tmp_path / "r-2.jsonl").touch()
    store = RecordingStore(tmp_path / "c.db", TranscriptRecorder(tmp_path / "r.jsonl"))
    store.add_round(one.conversation_id, one.id, "再问")
    store.add_round(None, None, "别的")
    store.close()
    assert [each.query for each in read_transcript(tmp_path / "r.jsonl").rounds] == [
        "问\ud800",
        "问\ud800",
        "再问",
    ]
    assert read_transcript(tmp_path / "r.jsonl").rounds[2].parent_id == 1
    assert [each.query for each in read_transcript(tmp_path / "r-3.jsonl").rounds] == ["别的"]


def test_existing_files_are_kept_and_empty_ones_deleted(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    file.write_text("old")
    with pytest.raises(ChatuiError, match="already exists"):
        TranscriptRecorder(file)
    assert file.read_text() == "old"
    with pytest.raises(ChatuiError, match="cannot be written"):
        TranscriptRecorder(tmp_path / "none" / "r.jsonl")
    RecordingStore(None, TranscriptRecorder(tmp_path / "unused.jsonl")).close()
    assert not (tmp_path / "unused.jsonl").exists()


def test_a_full_disk_is_reported_once_and_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "r.jsonl"
    store = RecordingStore(tmp_path / "c.db", TranscriptRecorder(file))
    problems: list[str] = []
    store.on_problem = lambda problem: problems.append(str(problem))
    one, _ = talk(store)
    size = file.stat().st_size
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        # The first bytes still fit.
        write(descriptor, bytes(data)[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    talk(store)
    store.add_round(one.conversation_id, one.id, "再问")
    monkeypatch.undo()
    store.add_round(one.conversation_id, one.id, "三问")
    assert len(problems) == 1 and "No space left" in problems[0]
    assert len(store.all_rounds(one.conversation_id)) == 4
    assert len(read_transcript(file.read_bytes(), name="x").rounds) == 2
    assert file.stat().st_size <= size + 20
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_kill_leaves_a_valid_file(tmp_path: Path) -> None:
    for attempt in range(4):
        file = tmp_path / f"{attempt}.jsonl"
        talking = subprocess.Popen(
            [sys.executable, "-c", TALKING, str(tmp_path / f"{attempt}.db"), str(file)],
            stdout=subprocess.PIPE,
        )
        assert talking.stdout is not None and talking.stdout.readline() == b"x\n"
        time.sleep(0.02 + 0.03 * attempt)
        talking.send_signal(signal.SIGKILL)
        told = 1 + talking.stdout.read().count(b"x")
        talking.wait()
        read = read_transcript(file)
        assert sum(map(len, read.pieces.values())) >= told
        whole = file.read_bytes()
        check(whole[: whole.rfind(b"\n") + 1])


def test_the_model_is_recorded_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100_000)
    (tmp_path / "config.json").write_text("{}")
    spec = ModelSpec("m", str(tmp_path), adapters=(Adapter("/a", 0.5),))
    said = model_description(spec, Loaded("m", "gpt2", "shiyou", 1024))
    assert said["adapters"] == [{"path": "/a", "scale": 0.5}]
    assert set(said["libraries"]) == {"torch", "transformers"}
    fingerprint = said["weights"]
    assert fingerprint.startswith("sha256:")
    (tmp_path / "model.safetensors").write_bytes(b"x" * 50_000 + b"y" * 50_000)
    assert weights_fingerprint(tmp_path) != fingerprint
    assert weights_fingerprint(tmp_path / "none") == ""
    served = replace(
        spec, backend="openai", server="http://user:geheim@host/v1?key=geheim", key_env="geheim"
    )
    assert "geheim" not in str(model_description(served, Loaded("m", "", "", 0)))


def test_lines_are_written_immediately(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    store = RecordingStore(None, TranscriptRecorder(file))
    begun = store.add_round(None, None, "问")
    for count in range(1, 4):
        store.append_pieces(begun.id, [Piece(0.1, "甲")])
        assert [line["type"] for line in lines(file.read_bytes())[1:]] == ["query"] + [
            "token"
        ] * count
    store.close()
