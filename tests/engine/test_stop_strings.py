"""Stop strings across token borders."""

from __future__ import annotations

import random

import pytest

from chatui.engine.stop_strings import StopStrings


def shown(strings: tuple[str, ...], pieces: list[str]) -> tuple[str, bool]:
    stops = StopStrings(strings)
    text = ""
    for piece in pieces:
        text += stops.add(piece)
        if stops.stopped:
            return text, True
    return text + stops.flush(), False


@pytest.mark.parametrize("seed", range(200))
def test_the_text_is_cut_at_the_first_stop_string_however_it_is_split(seed: int) -> None:
    dice = random.Random(seed)
    strings = tuple(
        "".join(dice.choices("ab问", k=dice.randint(1, 4))) for _ in range(dice.randint(1, 3))
    )
    text = "".join(dice.choices("ab问\n", k=30))
    pieces = []
    rest = text
    while rest:
        length = dice.randint(1, 5)
        pieces.append(rest[:length])
        rest = rest[length:]
    # The reference: the shortest beginning that holds a stop string, cut where that one starts.
    found = [text.find(string) + len(string) for string in strings if string in text]
    result, stopped = shown(strings, pieces)
    if not found:
        assert (result, stopped) == (text, False)
        return
    assert stopped
    assert not any(string in result for string in strings)
    assert result in {text[: text.find(string)] for string in strings if string in text}
    assert len(result) <= min(found)


def test_what_may_become_a_stop_string_is_held_back_and_no_more() -> None:
    stops = StopStrings(("\n[Round", "User:"))
    assert stops.add("好\n") == "好"
    assert stops.add("[Ro") == ""
    assert stops.add("se] Us") == "\n[Rose] "
    assert stops.add("e") == ""
    assert stops.flush() == "Use"
    assert not stops.stopped


def test_a_stop_string_ends_in_the_middle_of_a_token() -> None:
    assert shown(("###",), ["a#", "##b"]) == ("a", True)


def test_no_stop_strings_hold_nothing() -> None:
    assert shown((), ["a", "b"]) == ("ab", False)
    assert shown(("",), ["a", "b"]) == ("ab", False)
