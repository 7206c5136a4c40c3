"""Files that a user can hand in, damaged at random: read, or refused with one sentence."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_transcript import example, lines, version_1

from chatui.cli.request import read_history
from chatui.conversation import transcript
from chatui.conversation.json_records import Fault
from chatui.errors import ChatuiError

JUNK: list[Any] = [None, True, -1, 2**70, 10**400, 1e300, "", "\ud800", "\x00", [], {}, [[1]]]
KEYS = ["\ud800", "", "a" * 99, "\udfff\x00"]


def steps_into(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every part of a JSON value."""
    if path:
        yield path
    if isinstance(value, (dict, list)):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from steps_into(part, (*path, key))


def damaged(document: Any, dice: random.Random) -> bytes:
    """``document`` as JSON with parts replaced, removed and added, and with wrong bytes."""
    document = json.loads(json.dumps(document))
    for _ in range(dice.randrange(1, 4)):
        *path, last = dice.choice(list(steps_into(document)) or [(0,)])
        part = document
        for step in path:
            part = part[step]
        match dice.randrange(3):
            case 0 if part:
                part[last] = dice.choice(JUNK)
            case 1 if part:
                del part[last]
            case _ if isinstance(part, dict):
                part[dice.choice(KEYS)] = dice.choice(JUNK)
            case _:
                part.insert(0, dice.choice(JUNK))
    text = json.dumps(document, ensure_ascii=dice.random() < 0.5)
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(dice.choice([0, 0, 1, 4])):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.randrange(30)] = dice.choice([b"", b"\xff", b'"', b"[", b"\\ud800"])
    return bytes(data)


def test_a_damaged_transcript_of_version_1_is_read_or_refused() -> None:
    outcomes = set()
    for seed in range(600):
        data = damaged(version_1(example()), random.Random(seed))
        try:
            read = transcript.loads(data, "x.json")
        except ChatuiError as error:
            assert len(str(error)) < 600, seed
            outcomes.add("refused")
        else:
            transcript.dumps(read).encode()
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


def test_a_damaged_transcript_is_read_as_far_as_it_can_be() -> None:
    """With a telling of faults nothing but the header is refused; without one, every fault is."""
    events = lines(transcript.dumps(example()).encode())
    outcomes = set()
    for seed in range(1000):
        dice = random.Random(seed)
        place = dice.randrange(1, len(events))
        data = b"".join(
            damaged(event, dice) + b"\n" if number == place else json.dumps(event).encode() + b"\n"
            for number, event in enumerate(events)
        )
        faults: list[Fault] = []
        read = transcript.loads(data, "x", faults.append)
        again = transcript.loads(transcript.dumps(read).encode(), "x")
        assert [each.query for each in again.rounds] == [each.query for each in read.rounds], seed
        try:
            transcript.loads(data, "x")
        except ChatuiError as error:
            assert faults and len(str(error)) < 600, seed
            outcomes.add("refused")
        else:
            assert not faults, seed
            outcomes.add("read")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("place", ["", "conversation", "rounds__0"])
def test_a_lone_surrogate_in_a_key_is_no_crash(place: str) -> None:
    document = version_1(example())
    part: Any = document
    for step in filter(None, place.split("__")):
        part = part[int(step) if isinstance(part, list) else step]
    part["\ud800"] = 1
    with pytest.raises(ChatuiError, match="damaged"):
        transcript.loads(json.dumps(document).encode(), "x.json")


def test_a_damaged_history_file_is_read_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    outcomes = set()
    for seed in range(200):
        dice = random.Random(seed)
        file.write_bytes(damaged([["问", "答"], ["\ud800", "再答"]], dice))
        try:
            history = read_history(str(file))
        except ChatuiError:
            outcomes.add("refused")
        else:
            assert all(isinstance(text, str) for pair in history for text in pair), seed
            outcomes.add("read")
    assert outcomes == {"read", "refused"}
