"""Files as users really hand them in: with parts that are wrong, missing or cut."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

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
                part[last] = deepcopy(dice.choice(JUNK))
            case 1 if part:
                del part[last]
            case _ if isinstance(part, dict):
                part[dice.choice(KEYS)] = deepcopy(dice.choice(JUNK))
            case _:
                part.insert(0, deepcopy(dice.choice(JUNK)))
    text = json.dumps(document, ensure_ascii=dice.random() < 0.5)
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(dice.choice([0, 0, 1, 4])):
        at = dice.randrange(len(data) + 1)
        data[at : at + dice.randrange(30)] = dice.choice([b"", b"\xff", b'"', b"[", b"\\ud800"])
    return bytes(data)


def wrong_bytes(data: bytes, dice: random.Random) -> bytes:
    """``data`` with one to four stretches replaced, and now and then cut off."""
    result = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(result) + 1)
        piece = dice.choice([b"", b"\xff", b"\x00" * 8, b'"', b"[", b"9" * 5000, b"\\ud800", b"a"])
        result[at : at + dice.choice((0, 1, 1, 8, 40))] = piece
    return bytes(result[: dice.randrange(len(result) + 1)] if dice.random() < 0.1 else result)
