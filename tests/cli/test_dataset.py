"""``chatui dataset``: from files and conversations to files of training examples."""

from __future__ import annotations

import errno
import json
import os
import pty
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import is_one_sentence, read_lines, write_lines

from chatui import locations
from chatui.cli.parser import run
from chatui.cli.progress import ProgressDisplay
from chatui.conversation.store import Store
from chatui.conversation.transcript_writer import to_lines
from chatui.engine.examples import example_files, example_run

ROWS = [{"prompt": f"春{n}", "response": f"眠{n}，" * (n % 7)} for n in range(1000)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "rows.jsonl", ROWS)


def test_the_articles_example_is_printed_line_for_line(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    article = (reference / "article.md").read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(article) if line.startswith("input_ids [5, 65421"))
    printed = article[start : start + 11]
    texts = {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in printed[:6]}
    row = {"content": texts["inputs"], "summary": texts["labels"]}
    file = write_lines(tmp_path / "adgen.jsonl", [row])
    model = str(reference / "chatglm-6b" / "model")
    assert run(["dataset", str(file), "--model", model, "--preview"]) == 0
    assert capsys.readouterr().out.splitlines()[:11] == printed
    out = tmp_path / "out.jsonl"
    assert run(["dataset", str(file), "--model", model, "-o", str(out)]) == 0
    (made,) = read_lines(out)
    assert list(made) == ["input_ids", "labels"]
    assert str(made["labels"]) == printed[10] and str(made["input_ids"])[:500] == printed[6][:500]


def test_the_tokenizer_alone_is_enough_and_every_file_form_holds_the_same(
    rows: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa
    from safetensors.numpy import load_file

    (folder := tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((Path(tiny) / name).read_bytes())
    command = ["dataset", str(rows), "--model", str(folder), "--max-length", "24"]
    for form in ("jsonl", "safetensors", "arrow"):
        assert run([*command, "-o", str(tmp_path / f"out.{form}")]) == 0
    made = read_lines(tmp_path / "out.jsonl")
    assert len(made) == len(ROWS)
    assert {len(column) for row in made for column in row.values()} == {24}
    tensors = load_file(tmp_path / "out.safetensors")
    with pa.memory_map(str(tmp_path / "out.arrow")) as source:
        table = pa.ipc.open_stream(source).read_all()
    for name in ("input_ids", "attention_mask", "labels"):
        expected = [row[name] for row in made]
        assert tensors[name].dtype == "int64" and tensors[name].tolist() == expected
        assert table[name].to_pylist() == expected
    assert "1000 examples of 24 tokens" in capsys.readouterr().out
    assert sorted(file.name for file in tmp_path.glob("out*")) == [
        "out.arrow",
        "out.jsonl",
        "out.safetensors",
    ]


@pytest.mark.parametrize("form", ["jsonl", "safetensors", "one conversation"])
def test_an_interrupted_run_resumes_to_the_same_bytes(
    rows: Path,
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    form: str,
) -> None:
    """Also within a conversation of many rounds."""
    monkeypatch.setattr(example_run, "_PAIRS_PER_BATCH", 64)
    count = len(ROWS)
    if form == "one conversation":
        form, count = "jsonl", 400
        rounds = [
            {"role": role, "content": "春眠不觉晓" * 9} for role in ("user", "assistant")
        ] * count
        rows = write_lines(tmp_path / "one.jsonl", [{"messages": rounds}])
    whole, out = tmp_path / f"whole.{form}", tmp_path / f"out.{form}"
    command = ["dataset", str(rows), "--model", tiny, "--as", form, "-o"]
    assert run([*command, str(whole)]) == 0
    pairs = 0
    written = example_run._append_batch

    def stopped(*args: Any) -> Any:
        nonlocal pairs
        pairs += len(args[4])
        if pairs > 300:
            # What came behind the state that was kept is cut off again.
            args[1].append([args[0].layout.arrange(*pair) for pair in args[4][:7]])
            raise KeyboardInterrupt
        return written(*args)

    with monkeypatch.context() as patch:
        patch.setattr(example_run, "_append_batch", stopped)
        assert run([*command, str(out)]) == 130
    assert "Stopped after 256 examples" in capsys.readouterr().err
    assert not out.exists()
    taken: list[int] = []

    def counted(*args: Any) -> Any:
        taken.append(len(args[4]))
        return written(*args)

    monkeypatch.setattr(example_run, "_append_batch", counted)
    assert run([*command, str(out)]) == 0
    assert sum(taken) == count - 256
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(file.name for file in tmp_path.glob("out*")) == [out.name]


def test_a_lost_output_file_is_written_from_the_start(
    rows: Path, tiny: str, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = ["dataset", str(rows), "--model", tiny, "-o"]
    for lost in (None, b"", whole):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(example_run, "_SAVE_SECONDS", -1.0)
            patch.setattr(
                example_files.PartialFile, "finish", lambda *_: exec("raise OSError(5, '')")
            )
            assert run([*command, str(out)]) == 1
        partial = tmp_path / "out.partial"
        if lost is None:
            partial.unlink()
        elif lost == b"":
            partial.write_bytes(b"")
        assert run([*command, str(out)]) == 0
        assert len(read_lines(out)) == len(ROWS)


def test_other_options_or_sources_start_from_the_beginning(
    rows: Path, tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.jsonl"
    command = ["dataset", str(rows), "--model", tiny, "-o", str(out)]

    def stop(*_: Any) -> Iterator[Any]:
        raise KeyboardInterrupt

    for change in (["--max-length", "20"], ["--train", "last"]):
        with monkeypatch.context() as patch:
            patch.setattr(example_run, "_CHARACTERS_PER_BATCH", 100)
            patch.setattr(example_run, "_SAVE_SECONDS", -1.0)
            patch.setattr(ProgressDisplay, "update", stop)
            assert run(command) == 130
        assert (tmp_path / "out.jsonl.partial.json").exists()
        assert run([*command, *change]) == 0
        assert len(read_lines(out)) == len(ROWS)


def test_unreadable_records_are_reported_by_line_and_the_rest_is_kept(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mixed.jsonl"
    good = json.dumps({"prompt": "春", "response": "眠"})
    wrong = ['{"prompt": ', '{"prompt": 1, "response": "x"}', '{"text": "x"}', '"\x1b[31m"']
    file.write_text("\n".join([good, *wrong, good]), encoding="utf-8")
    out = tmp_path / "out.jsonl"
    assert run(["dataset", str(file), "--model", tiny, "-o", str(out)]) == 0
    said = capsys.readouterr().err
    assert [f"{file}, line {n}: " in said for n in range(1, 8)] == [
        False,
        *[True] * 4,
        False,
        False,
    ]
    assert "4 records could not be read" in said and "\x1b" not in said
    assert len(read_lines(out)) == 2


def test_saved_conversations_and_transcripts_are_sources(tiny: str, tmp_path: Path) -> None:
    store = Store(locations.database_file())
    first = store.add_round(None, None, "你好")
    store.finish_round(replace(first, reply="你好！", state="done", finish_reason="eos"))
    second = store.add_round(first.conversation_id, first.id, "谢谢")
    store.finish_round(replace(second, reply="不客气", state="done", finish_reason="eos"))
    file = tmp_path / "talk.json"
    file.write_text("".join(to_lines(store.transcript(first.conversation_id))))
    store.close()
    sharegpt = tmp_path / "talk.jsonl"
    said = [("human", "你好"), ("gpt", "你好！"), ("human", "谢谢"), ("gpt", "不客气")]
    write_lines(sharegpt, [{"conversations": [{"from": a, "value": b} for a, b in said]}])
    model = ["--model", tiny, "-o"]
    sources = [[str(sharegpt)], [str(file)], ["--conversation", "1"], ["--conversation", "all"]]
    made = []
    for number, source in enumerate(sources):
        out = tmp_path / f"out{number}.jsonl"
        assert run(["dataset", *source, *model, str(out)]) == 0
        made.append(out.read_bytes())
    assert len(made[0].splitlines()) == 2 and set(made) == {made[0]}
    assert run(["dataset", *sources[0], "--train", "last", *model, str(tmp_path / "last")]) == 0
    assert (tmp_path / "last").read_bytes().splitlines() == made[0].splitlines()[1:]


def test_a_folder_stands_for_its_files(tiny: str, tmp_path: Path) -> None:
    (folder := tmp_path / "in").mkdir()
    write_lines(folder / "b.jsonl", ROWS[:2])
    (folder / "a.json").write_text(json.dumps(ROWS[2:5], indent=1), encoding="utf-8")
    (folder / "notes.txt").write_text("nothing", encoding="utf-8")
    assert run(["dataset", str(folder), "--model", tiny, "-o", str(tmp_path / "out")]) == 0
    assert len(read_lines(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["rows.jsonl"], 2),
        (["rows.jsonl", "-o", "rows.jsonl"], 2),
        (["none.jsonl", "-o", "out"], 1),
        (["empty.jsonl", "-o", "out"], 1),
        (["empty.jsonl", "--preview"], 1),
        (["rows.jsonl", "-o", "nowhere/out"], 1),
        (["rows.jsonl", "-o", "."], 1),
        (["--conversation", "7", "-o", "out"], 1),
        (["rows.jsonl", "--family", "chatglm", "-o", "out"], 1),
        (["rows.jsonl", "--model", "no-such-model", "-o", "out"], 1),
        (["rows.jsonl", "--format", "no-such-format", "-o", "out"], 1),
    ],
)
def test_wrong_usage_is_one_sentence(
    rows: Path,
    tiny: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
) -> None:
    monkeypatch.chdir(rows.parent)
    Path("empty.jsonl").write_text("\n")
    before = rows.read_bytes()
    model = [] if "--model" in arguments else ["--model", tiny]
    assert run(["dataset", *arguments, *model]) == code
    said = capsys.readouterr()
    assert said.out == "" and is_one_sentence(said.err)
    assert not Path("out").exists() and rows.read_bytes() == before


def test_a_full_disk_is_reported_and_the_run_can_resume(
    rows: Path,
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    command = ["dataset", str(rows), "--model", tiny, "-o"]
    assert run([*command, str(whole)]) == 0
    append = example_files.PartialFile.append

    def full(self: Any, examples: Any) -> int:
        place = append(self, examples)
        if place > whole.stat().st_size // 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return place

    with monkeypatch.context() as patch:
        patch.setattr(example_files.PartialFile, "append", full)
        capsys.readouterr()
        assert run([*command, str(out)]) == 1
    assert is_one_sentence(capsys.readouterr().err) and not out.exists()
    assert run([*command, str(out)]) == 0
    assert out.read_bytes() == whole.read_bytes()


def test_links_are_followed_and_a_pipe_stays_a_pipe(
    rows: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (link := tmp_path / "link.jsonl").symlink_to(tmp_path / "real.jsonl")
    assert run(["dataset", str(rows), "--model", tiny, "-o", str(link)]) == 0
    assert link.is_symlink() and len(read_lines(tmp_path / "real.jsonl")) == len(ROWS)
    capsys.readouterr()
    os.mkfifo(pipe := tmp_path / "pipe.jsonl")
    assert run(["dataset", str(rows), "--model", tiny, "-o", str(pipe)]) == 2
    assert pipe.is_fifo() and is_one_sentence(capsys.readouterr().err)


def test_two_runs_never_write_the_same_file(
    rows: Path, tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from filelock import FileLock

    out = tmp_path / "out"
    with FileLock(tmp_path / "out.partial.lock"):
        assert run(["dataset", str(rows), "--model", tiny, "-o", str(out)]) == 1
    assert "Another chatui process is writing" in capsys.readouterr().err


def test_a_preview_colours_the_labels(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_terminal(*arguments: str) -> str:
        master, slave = pty.openpty()
        with os.fdopen(slave, "w", encoding="utf-8") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert run(arguments) == 0
        shown = b""
        # Reading from a terminal that nobody writes to any more is an error on Linux.
        with suppress(OSError):
            while block := os.read(master, 4096):
                shown += block
        os.close(master)
        return shown.decode()

    file = write_lines(tmp_path / "rows.jsonl", [{"prompt": "春眠", "response": "\x1b[31m不觉"}])
    command = ["dataset", str(file), "--model", tiny, "--preview"]
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = in_terminal(*command)
    learned = [line for line in shown.splitlines() if "\x1b[1;32m不" in line]
    assert len(learned) == 1 and "\x1b[31m" not in shown
    monkeypatch.setenv("NO_COLOR", "1")
    plain = in_terminal(*command)
    assert "32m" not in plain and "不 觉" in plain
