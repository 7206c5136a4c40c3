"""docs/models.md names every system, and everything that cannot run here."""

from __future__ import annotations

from pathlib import Path

import pytest

from chatui.catalog import library

PAGE = Path(__file__).resolve().parents[2] / "docs" / "models.md"
PRESETS = library.load().by_name
NAMES = {one.system for one in PRESETS.values()}
NAMES |= {name for name, one in PRESETS.items() if one.facts.lacks}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_it_is_named(name: str) -> None:
    assert f"`{name}`" in PAGE.read_text(encoding="utf-8")
