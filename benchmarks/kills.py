"""Data lost when the app is killed at random moments while it streams and records.

    python benchmarks/kills.py [--count 50]

Each time, the app starts in a terminal on the same store, gets some queries, and is killed with
SIGKILL within three seconds. The loss in seconds is the time from the oldest missing token to the
newest token that the app had received.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "tui")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    import forked_engine
    from killed_app import ENDLESS, kill_once

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "engines").mkdir()
        home = Path(folder) / "home"
        (home / "presets").mkdir(parents=True)
        (home / "presets" / "endless.toml").write_text(ENDLESS, encoding="utf-8")
        os.environ |= {"CHATUI_HOME": str(home), "HF_HUB_OFFLINE": "1"}
        # The app imports the same code as this script.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        outcomes = []
        with forked_engine.template(Path(folder) / "engines") as environment:
            os.environ |= environment
            for number in range(options.count):
                outcome = kill_once(home, number, options.seed + number)
                outcomes.append(outcome)
                print(number, outcome, flush=True)
        faults = [fault for each in outcomes for fault in each.faults]
        tokens = sum(each.told for each in outcomes)
        print(f"{len(outcomes)} kills, {tokens} tokens, {len(faults)} faults")
        for name in ("lost_from_store", "lost_from_transcript"):
            seconds = [getattr(each, name) for each in outcomes]
            mean = sum(seconds) / len(seconds)
            print(f"{name}: at most {max(seconds):.2f} s, {mean:.2f} on average")


if __name__ == "__main__":
    main()
