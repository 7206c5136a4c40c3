"""Traditional and simplified variants of hanzi, character by character.

``traditional.txt`` has pairs of a traditional and a simplified character.
``docs/make_hanzi_tables.py`` makes it from OpenCC's table.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path


@lru_cache(1)
def _groups() -> dict[str, str]:
    """Map each hanzi that has variants to all its variants, itself included."""
    text = Path(__file__).with_name("traditional.txt").read_text(encoding="utf-8").replace("\n", "")
    groups: dict[str, str] = {}
    for traditional, simplified in zip(text[::2], text[1::2], strict=True):
        groups[simplified] = groups.get(simplified, simplified) + traditional
    return {hanzi: group for group in groups.values() for hanzi in group}


def script_variants(character: str) -> str:
    """Return the character followed by its variants: 后後 for 后, 後后 for 後, a for a."""
    return character + _groups().get(character, "").replace(character, "")
