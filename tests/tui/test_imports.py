"""Modules that must not be imported before the first frame."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

HEAVY = {
    *("torch", "transformers", "peft", "accelerate", "numpy"),
    *("openai", "httpx", "huggingface_hub", "modelscope", "pydantic"),
    *("markdown_it", "pygments"),
}
LATER = {
    *("chatui.backends.local", "chatui.backends.registry", "chatui.backends.servers"),
    *(
        "chatui.catalog.fetching",
        "chatui.catalog.model_description",
        "chatui.catalog.unlisted_models",
    ),
    *("chatui.conversation.imports", "chatui.conversation.transcript_recorder"),
    *("chatui.conversation.text_search", "chatui.conversation.transcript_writer"),
    "chatui.conversation.transcript_reader",
    *("chatui.prompting.chat_template", "chatui.prompting.formats", "chatui.prompting.window"),
    *("chatui.tui.context_use", "chatui.tui.first_start", "chatui.tui.markdown"),
    *(f"chatui.tui.screens.{name}" for name in ("picker", "compare", "variant_picker")),
    *(f"chatui.tui.screens.{name}" for name in ("help", "model_picker")),
    *(f"chatui.tui.screens.{name}" for name in ("adapter_picker", "questions")),
    *(f"chatui.tui.widgets.{name}" for name in ("completion_list", "conversation_list")),
    *(f"chatui.tui.widgets.{name}" for name in ("find_bar", "settings_panel", "side_bar")),
    *(f"chatui.tui.widgets.{name}" for name in ("token_panel", "token_rows")),
}
SCRIPT = """
import os, sys
from chatui.cli import start_app, parser, request
from chatui.conversation.store import Store
from chatui.tui.app import ChatApp
from chatui.tui.screens.turn_display import TurnDisplay

def tell(self):
    print(*sys.modules, flush=True)
    os._exit(0)

TurnDisplay._after_first_paint = tell
args = parser.build([]).parse_args([])
settings = request.settings_of(args)
ChatApp(settings, request.spec_of(args, settings), Store(None)).run(headless=True)
"""


def test_the_first_frame_imports_only_what_it_shows() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60
    )
    imported = set(ran.stdout.split())
    assert "chatui.tui.widgets.welcome" in imported
    assert not imported & LATER
    assert all(map(find_spec, LATER)), "a module of the list has another name now"
    assert not {name.partition(".")[0] for name in imported} & HEAVY
