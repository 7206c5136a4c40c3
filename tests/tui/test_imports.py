"""What the first frame must not pay for."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "torch transformers peft accelerate pydantic openai httpx huggingface_hub modelscope numpy "
    "markdown_it pygments"
)
SCRIPT = """
import sys
from chatui import catalog
from chatui.cli import open, parser, request
from chatui.tui.app import ChatApp
args = parser.build([]).parse_args([])
settings = request.settings_of(args)
request.spec_of(args, settings)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_the_first_frame_imports_no_tensors_and_no_network() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    imported = set(ran.stdout.split())
    assert "textual" in imported
    assert not imported & set(HEAVY.split())
