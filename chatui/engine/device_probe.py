"""``python -m chatui.engine.device_probe``: print the devices that torch finds, as a JSON object.

It is a separate process, so that its caller does not import torch.
"""

from __future__ import annotations

import json
import platform
from typing import Any

import psutil
import torch

from chatui.locales import say


def devices() -> list[dict[str, Any]]:
    """Return all devices, fastest first, with their total and free memory in bytes."""
    memory = psutil.virtual_memory()
    found = [
        {
            "name": f"cuda:{index}",
            "title": torch.cuda.get_device_name(index),
            "free_bytes": torch.cuda.mem_get_info(index)[0],
            "memory_bytes": torch.cuda.mem_get_info(index)[1],
        }
        for index in range(torch.cuda.device_count())
    ]
    shared = {"free_bytes": memory.available, "memory_bytes": memory.total}
    if torch.backends.mps.is_available():
        found.append({"name": "mps", "title": platform.machine(), **shared})
    title = say("engine.cpu", machine=platform.machine(), threads=torch.get_num_threads())
    found.append({"name": "cpu", "title": title, **shared})
    return found


if __name__ == "__main__":
    print(json.dumps({"torch": torch.__version__, "devices": devices()}))
