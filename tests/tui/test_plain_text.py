"""Nothing from users, models or files may be obeyed by a terminal."""

from __future__ import annotations

import unicodedata

import pytest

from chatui.tui.plain_text import plain_line, plain_text, shelter, sheltered_picture, unshelter

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x1b]52;c;aGk=\x1b\\",
    "a\x00b",
    "\x9b31m",
    "\x7f",
    "line\x0bfeed\x0cform",
    "\u202eevil\u202c",
    "\u2066x\u2069\u200e\u200f",
    "par\u2028agraph\u2029",
    "\ud800 alone \udfff",
    "a\rb",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown(text: str) -> None:
    shown = plain_text(text)
    assert len(shown) == len(text)
    assert all(unicodedata.category(c) not in ("Cc", "Cs", "Zl", "Zp") for c in shown)
    assert not set(shown) & set(
        "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f"
    )
    shown.encode("utf-8")


@pytest.mark.parametrize(
    "text", ["春风\n又绿\t江南岸", "e\u0301 👨‍👩‍👧 𠮷", "[bold]x[/bold]", "𝒳", "\U0010ffff"]
)
def test_other_text_is_left_alone(text: str) -> None:
    assert plain_text(text) == text


def test_windows_line_ends_become_newlines() -> None:
    assert plain_text("a\r\nb") == "a\nb"


def test_plain_line_is_one_short_line() -> None:
    assert plain_line("a\n b\tc\x1b") == "a b c␛"
    assert plain_line("字" * 300, 10) == "字" * 9 + "…"


@pytest.mark.parametrize("text", [*HOSTILE, "plain 春\n"])
def test_sheltered_text_comes_back_exactly(text: str) -> None:
    sheltered = shelter(text)
    assert unshelter(sheltered) == text
    assert len(sheltered.splitlines()) == len(
        text.replace("\x0b", "")
        .replace("\x0c", "")
        .replace("\u2028", "")
        .replace("\u2029", "")
        .splitlines()
    )
    shown = sheltered_picture(sheltered)
    assert len(shown) == len(sheltered)
    assert shown.replace("\r", "") == plain_text(text.replace("\r", ""))
