"""Write the tables of hanzi for the search; needs the extra ``test``.

    python docs/make_hanzi_tables.py

``chatui/sounds.txt`` has a line for each syllable of Mandarin without its tone: the syllable, the
hanzi with this first reading, and the hanzi with this as another reading (pypinyin's single
characters, MIT). ``chatui/traditional.txt`` has pairs of a traditional and a simplified hanzi
(OpenCC's t2s, character by character, Apache-2.0).
"""

from __future__ import annotations

import unicodedata
from pathlib import Path

import opencc
from pypinyin.pinyin_dict import pinyin_dict

PACKAGE = Path(__file__).parents[1] / "chatui"
BASIC = range(0x4E00, 0xA000)
EXTENDED = range(0x3400, 0xA000)


def sounds() -> str:
    """Return the contents of ``sounds.txt``."""
    first: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    for code in BASIC:
        readings = unicodedata.normalize("NFD", pinyin_dict.get(code, "")).encode("ascii", "ignore")
        syllables = [each for each in dict.fromkeys(readings.decode().split(",")) if each]
        for place, syllable in enumerate(syllables):
            (others if place else first).setdefault(syllable, []).append(chr(code))
    return "".join(
        f"{syllable} {''.join(first.get(syllable, ()))} {''.join(others.get(syllable, ()))}\n"
        for syllable in sorted(first.keys() | others.keys())
    )


def traditional() -> str:
    """Return the contents of ``traditional.txt``, forty pairs per line."""
    convert = opencc.OpenCC("t2s").convert
    hanzi = [chr(code) for code in EXTENDED]
    # One hanzi per line, so that OpenCC does not match words.
    simplified = convert("\n".join(hanzi)).split("\n")
    pairs = [
        one + other
        for one, other in zip(hanzi, simplified, strict=True)
        if one != other and len(other) == 1 and ord(other) in EXTENDED
    ]
    return "".join("".join(pairs[at : at + 40]) + "\n" for at in range(0, len(pairs), 40))


if __name__ == "__main__":
    (PACKAGE / "sounds.txt").write_text(sounds(), encoding="utf-8")
    (PACKAGE / "traditional.txt").write_text(traditional(), encoding="utf-8")
