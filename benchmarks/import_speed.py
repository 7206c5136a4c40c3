"""Speed and memory of ``chatui import`` with a large ChatGPT export.

    python benchmarks/import_speed.py [--megabytes 200]

The export is a single line with the same fields as ChatGPT's. Measures the complete import, reading
alone, and ``json.loads`` of the whole file, in megabytes per second and per second of CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

SAID = "春江潮水连海平，海上明月共潮生。滟滟随波千万里，何处春江无月明！The moon rises. "

READ = """
import resource, sys, time
from pathlib import Path
from chatui.conversation.conversation_files import ConversationFiles
began = time.perf_counter()
count = sum(1 for _ in ConversationFiles([Path(sys.argv[1])]).read())
took = time.perf_counter() - began
print(count, took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
IMPORT = """
import resource, sys, time
from pathlib import Path
from chatui.conversation.conversation_files import import_files
from chatui.conversation.store import Store
store = Store(Path(sys.argv[2]))
began = time.perf_counter()
counts = import_files(store, [Path(sys.argv[1])], on_progress=lambda _: None, on_skipped=print)
took = time.perf_counter() - began
store.close()
print(counts.conversations, took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
WHOLE = """
import json, resource, sys, time
from pathlib import Path
began = time.perf_counter()
count = len(json.loads(Path(sys.argv[1]).read_bytes()))
took = time.perf_counter() - began
print(count, took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def conversation(number: int, dice: random.Random) -> dict[str, Any]:
    """Return a conversation of ten rounds with the fields of ChatGPT's export."""
    mapping: dict[str, Any] = {"root": {"id": "root", "message": None, "parent": None}}
    parent = "root"
    for at in range(20):
        id = f"{number:08x}-{at:04x}-4000-8000-{dice.getrandbits(48):012x}"
        role = "assistant" if at % 2 else "user"
        text = SAID[: 20 + at] if role == "user" else SAID * dice.randrange(4, 16)
        mapping[parent]["children"] = [id]
        mapping[id] = {
            "id": id,
            "parent": parent,
            "children": [],
            "message": {
                "id": id,
                "author": {"role": role, "name": None, "metadata": {}},
                "create_time": 1.7e9 + number + at,
                "update_time": None,
                "content": {"content_type": "text", "parts": [text]},
                "status": "finished_successfully",
                "end_turn": True,
                "weight": 1.0,
                "metadata": {
                    "model_slug": "gpt-4o",
                    "request_id": f"{dice.getrandbits(64):016x}",
                    "timestamp_": "absolute",
                    "message_type": None,
                    "parent_id": parent,
                    "finish_details": {"type": "stop", "stop_tokens": [200002]},
                },
                "recipient": "all",
                "channel": None,
            },
        }
        parent = id
    return {
        "title": f"Conversation {number}",
        "create_time": 1.7e9 + number,
        "update_time": 1.7e9 + number + 20,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": parent,
        "conversation_id": f"{number:08x}",
    }


def write_export(file: Path, size: int) -> None:
    """Write an export of at least ``size`` bytes; texts are ASCII escapes, as in ChatGPT's."""
    dice = random.Random(0)
    with file.open("w") as stream:
        number = written = 0
        while written < size:
            text = json.dumps(conversation(number, dice))
            written += stream.write(("," if number else "[") + text)
            number += 1
        stream.write("]")


def cpu_seconds() -> float:
    """Return the CPU time of all child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def measured(code: str, *arguments: str) -> tuple[int, float, float]:
    """Run code in a process; return the conversations, seconds and peak MiB that it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    count, seconds, peak = done.stdout.split()
    return int(count), float(seconds), float(peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "conversations.json"
        write_export(file, args.megabytes * 10**6)
        size = file.stat().st_size / 10**6
        database = str(Path(folder) / "conversations.db")
        for name, code in (("json.loads of all", WHOLE), ("read", READ), ("import", IMPORT)):
            before = cpu_seconds()
            count, seconds, peak = measured(code, str(file), database)
            cpu = size / (cpu_seconds() - before)
            words = f"{size:.0f} MB, {count} conversations: {seconds:.1f} s"
            print(
                f"{name:18} {words}, {size / seconds:.1f} MB/s, {cpu:.1f} MB a CPU second,"
                f" peak {peak:.0f} MiB"
            )
        print("the import's aim: >= 20 MB/s")


if __name__ == "__main__":
    main()
