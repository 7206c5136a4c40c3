"""Text made safe for terminals, and stop strings."""

from __future__ import annotations

import random
import unicodedata

import pytest

from chatui.text import (
    StopStrings,
    escape_json,
    escape_unsafe,
    escaped_as_shown,
    fit_cells,
    in_quotes,
    one_line,
    plain_text,
    unescape_unsafe,
    without_surrogates,
)

HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]52;c;aGk=\x1b\\ a\x00b\x07 \x9b31m \x7f line\x0bfeed\x0cform a\rb "
    "\u202eevil\u202c \u2066x\u2069\u200e\u200f \u2028graph\u2029 \x85 \ud800 alone \udfff"
)


def test_unsafe_characters_become_visible() -> None:
    shown = plain_text(HOSTILE)
    assert len(shown) == len(HOSTILE)
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in shown if c != "\n")
    assert not set(shown) & set("\u202e\u202c\u2066\u2069\u200e\u200f")
    shown.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["春风\n又绿\t江南岸", "e\u0301 👨‍👩‍👧 𠮷", "[bold]x[/bold]", "𝒳", "\U0010ffff"]
)
def test_safe_text_is_unchanged(text: str) -> None:
    assert plain_text(text) == text
    assert without_surrogates(text) == text


def test_all_kinds_of_line_breaks_become_newlines() -> None:
    assert plain_text("a\r\nb\u2028c\u2029d\x85e\n") == "a\nb\nc\nd\ne\n"


def test_one_line_cuts_and_shows_or_drops_unsafe_characters() -> None:
    assert one_line("a\n b\tc\x1b\u2028d") == "a b c␛ d"
    assert one_line("\x1b[1ma\ud800", drop_unsafe=True) == "[1ma"
    assert one_line("字" * 300, 10) == "字" * 9 + "…"
    assert one_line("字" * 300, None) == "字" * 300


def test_quoted_text_keeps_white_space_and_is_safe() -> None:
    assert in_quotes("C:\\my  model") == "“C:\\my  model”"
    assert in_quotes("a\x1b[31m\n\ud800\u202e") == "“a␛[31m␊\ufffd\ufffd”"
    assert len(in_quotes("x" * 10**6)) == 202


def test_a_line_is_cut_to_cells() -> None:
    assert fit_cells("春眠abc", 7) == "春眠abc"
    assert fit_cells("春眠abc", 6) == "春眠a…"
    assert fit_cells("春眠不觉晓", 6) == "春眠…"


def test_surrogates_are_joined_or_replaced() -> None:
    assert without_surrogates("a\ud83d\ude00b\ud800c\ufeff") == "a😀b\ufffdc\ufeff"


def test_json_is_escaped() -> None:
    assert escape_json('"春\x9b\u2028\ud800"') == '"春\\u009b\\u2028\\ud800"'


@pytest.mark.parametrize("text", [HOSTILE, "plain 春\n\U00100041"])
def test_unescaping_reverses_escaping(text: str) -> None:
    escaped = escape_unsafe(text)
    assert unescape_unsafe(escaped) == text
    # Only CR and newline may break a line of the editor.
    assert len(escaped.splitlines()) == 1 + text.count("\r") + text.count("\n")
    shown = escaped_as_shown(escaped)
    assert len(shown) == len(escaped)
    assert plain_text(shown).replace("\r", "␍") == shown.replace("\r", "␍")


def shown(strings: tuple[str, ...], pieces: list[str]) -> tuple[str, bool]:
    stops = StopStrings(strings)
    text = ""
    for piece in pieces:
        text += stops.add(piece)
        if stops.stopped:
            return text, True
    return text + stops.flush(), False


def test_text_ends_at_the_first_stop_string_however_it_is_split() -> None:
    for seed in range(200):
        dice = random.Random(seed)
        strings = tuple(
            "".join(dice.choices("ab问", k=dice.randint(1, 4))) for _ in range(dice.randint(1, 3))
        )
        text = "".join(dice.choices("ab问\n", k=30))
        cuts = sorted(dice.sample(range(1, 30), k=dice.randint(5, 20)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, 30], strict=True)]
        # The reference: the shortest prefix with a stop string, cut at the start of the string.
        found = [text.find(string) + len(string) for string in strings if string in text]
        result, stopped = shown(strings, pieces)
        if not found:
            assert (result, stopped) == (text, False)
            continue
        assert stopped
        assert not any(string in result for string in strings)
        assert result in {text[: text.find(string)] for string in strings if string in text}
        assert len(result) <= min(found)


def test_only_possible_starts_of_stop_strings_are_held_back() -> None:
    stops = StopStrings(("\n[Round", "User:"))
    assert stops.add("好\n") == "好"
    assert stops.add("[Ro") == ""
    assert stops.add("se] Us") == "\n[Rose] "
    assert stops.add("e") == ""
    assert stops.flush() == "Use"
    assert not stops.stopped


def test_without_stop_strings_nothing_is_held_back() -> None:
    assert shown((), ["a", "b"]) == ("ab", False)
    assert shown(("",), ["a", "b"]) == ("ab", False)
    assert shown(("###",), ["a#", "##b"]) == ("a", True)
