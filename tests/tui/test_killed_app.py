"""kill -9 at random moments: nothing is invalid, nothing old is lost, no lock stays.

``CHATUI_KILLS=50`` kills as often; ``benchmarks/kills.py`` does and tells the figures.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from killed_app import ENDLESS, kill_once

from chatui import locations

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are Unix's"),
    pytest.mark.skipif(
        not (locations.assets_folder() / "shiyou" / "model.safetensors").exists(),
        reason="the embedded model is not in this checkout",
    ),
]

KILLS = int(os.environ.get("CHATUI_KILLS", "2"))


def test_a_kill_leaves_valid_files_and_loses_at_most_a_second(home: Path, engines: None) -> None:
    (home / "presets").mkdir(parents=True)
    (home / "presets" / "endless.toml").write_text(ENDLESS, encoding="utf-8")
    outcomes = [kill_once(home, number, seed=number) for number in range(KILLS)]
    assert [each.faults for each in outcomes] == [()] * KILLS
    assert sum(each.told for each in outcomes) > KILLS
    # One may fall on a moment when the machine stood still.
    assert sorted(each.lost_from_store for each in outcomes)[-2] <= 1.0
    assert sorted(each.lost_from_transcript for each in outcomes)[-2] <= 1.0
