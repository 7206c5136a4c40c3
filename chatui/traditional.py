"""Traditional and simplified hanzi of each other, character by character.

``traditional.txt``, made of OpenCC's table by ``docs/make_hanzi_tables.py``, has pairs of a
traditional and a simplified one.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache(1)
def _groups() -> dict[str, str]:
    """Each hanzi that has other forms -> all its forms."""
    text = Path(__file__).with_name("traditional.txt").read_text(encoding="utf-8").replace("\n", "")
    groups: dict[str, str] = {}
    for one, simplified in zip(text[::2], text[1::2], strict=True):
        groups[simplified] = groups.get(simplified, simplified) + one
    return {hanzi: group for group in groups.values() for hanzi in group}


def script_variants(character: str) -> str:
    """The character and its other forms, itself first: 后 is 后後, 後 is 後后, a is a."""
    return character + _groups().get(character, "").replace(character, "")
