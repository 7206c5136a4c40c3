"""Text from users, models and files, made safe to put on a terminal.

A terminal obeys control characters and reorders bidirectional ones; a lone surrogate cannot be
encoded at all. Each is shown as one visible character, so nothing is hidden and nothing obeyed.
"""

from __future__ import annotations

import re

_UNSAFE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u206f"  # bidirectional and deprecated formatting
    "\u2028\u2029\ufff9-\ufffb"  # line separators, interlinear annotation
    "\ud800-\udfff"  # lone surrogates
    "]"
)
_SHELTER = 0x100000
"""Start of the private plane whose characters stand for unsafe ones (:func:`shelter`)."""

_SHELTERED = re.compile("[\U00100000-\U0010ffff]")


def _picture(code: int) -> str:
    """The visible character for an unsafe one; always one cell wide."""
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "\ufffd"


def plain_text(text: str) -> str:
    """``text`` with every unsafe character made visible; newlines and tabs stay."""
    return _UNSAFE.sub(lambda match: _picture(ord(match[0])), text.replace("\r\n", "\n"))


def plain_line(text: str, limit: int = 200) -> str:
    """``text`` on one line: white space collapsed, cut after ``limit`` characters."""
    line = " ".join(plain_text(text[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def shelter(text: str) -> str:
    """``text`` with unsafe characters moved to private ones that have a width and no effect.

    For an editor that must give back exactly what was put in: :func:`unshelter` is the way back,
    :func:`sheltered_picture` what to show meanwhile. Line ends of any kind stay.
    """
    return _UNSAFE.sub(
        lambda match: match[0] if match[0] == "\r" else chr(_SHELTER + ord(match[0])), text
    )


def unshelter(text: str) -> str:
    """The text that :func:`shelter` was given."""
    return _SHELTERED.sub(lambda match: chr(ord(match[0]) - _SHELTER), text)


def sheltered_picture(text: str) -> str:
    """What to show for sheltered text, character for character."""
    return _SHELTERED.sub(lambda match: _picture(ord(match[0]) - _SHELTER), text)
