"""The suggestions of the welcome, and their keys."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from chatui.backends import servers
from chatui.locales import say
from chatui.settings import Settings
from chatui.tui import first_start


class Models(BaseHTTPRequestHandler):
    """A server that only lists one model."""

    def do_GET(self) -> None:
        body = json.dumps({"object": "list", "data": [{"id": "qwen3", "object": "model"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Write no log."""


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Models) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


async def test_a_server_on_this_machine_is_offered(
    drive: Any, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "USUAL_PORTS", ((port, "ollama"),))
    async with drive() as on:
        await on.until(lambda: "This machine: 16.0 GB of memory" in on.screen_text)
        await on.until(lambda: "F10  Chat with ollama:qwen3 on its server" in on.screen_text)
        await on.pilot.press("f10")
        await on.until(lambda: on.app.turns.spec.path == "qwen3")
        assert on.app.turns.spec.server == f"http://127.0.0.1:{port}/v1"


async def test_without_a_server_its_key_says_how_to_add_one(drive: Any) -> None:
    async with drive() as on:
        await on.until(lambda: "This machine: " in on.screen_text)
        assert "F10" not in on.screen_text
        await on.pilot.press("f10")
        await on.until(lambda: say("tui.hint.no_server") in on.notices)


@pytest.mark.skipif(os.name != "posix", reason="the driver's program is a shell script here")
def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA A, 8192 MiB'\necho 'NVIDIA B, 24576 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    gpus = first_start._nvidia_gpus()
    findings = replace(first_start.inspect_machine(Settings()), gpus=gpus, models=2)
    assert findings.summary == (
        "This machine: 16.0 GB of memory · NVIDIA A 8192 MiB · NVIDIA B 24576 MiB · "
        "models in the caches: 2"
    )
    program.write_text("#!/bin/sh\necho broken\nexit 9\n")
    assert first_start._nvidia_gpus() == ()
