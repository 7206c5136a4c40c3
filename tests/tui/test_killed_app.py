"""kill -9 at random moments: files stay valid, old text is kept, locks are released.

``CHATUI_KILLS=50`` sets the number of kills; ``benchmarks/kills.py`` prints the figures.
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
    # One kill may fall into a pause of the machine.
    assert sorted(each.lost_from_store for each in outcomes)[-2] <= 1.0
    assert sorted(each.lost_from_transcript for each in outcomes)[-2] <= 1.0
