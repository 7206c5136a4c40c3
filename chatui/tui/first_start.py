"""Suggestions of the welcome: what the machine has, a chat model, a server."""

from __future__ import annotations

import shutil
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatui.locales import say
from chatui.readable import size
from chatui.settings import Settings
from chatui.text import one_line

if TYPE_CHECKING:
    from chatui.catalog import ModelEntry

_CONNECT_SECONDS = 0.1
_NVIDIA_SMI_SECONDS = 5.0


@dataclass(frozen=True)
class Findings:
    """The machine, and models to suggest.

    Attributes:
        memory_bytes: the machine's memory.
        gpus: name and memory of each NVIDIA GPU.
        models: the number of models in the hubs' caches.
        chat_model: the preset that suits the machine, on disk or to be fetched.
        hub: the host that it would be fetched from.
        server_model: the first model of the first server that answers.
    """

    memory_bytes: int
    gpus: tuple[str, ...]
    models: int
    chat_model: ModelEntry
    hub: str
    server_model: ModelEntry | None = None

    @property
    def summary(self) -> str:
        """A line about the machine."""
        parts = [say("tui.welcome.memory", size=size(self.memory_bytes)), *self.gpus]
        if self.models:
            parts.append(say("tui.welcome.models", count=self.models))
        return say("tui.welcome.found", what=" · ".join(parts))


def inspect_machine(settings: Settings) -> Findings:
    """Return the findings without a server; takes a moment."""
    import psutil

    from chatui import catalog
    from chatui.catalog.fetching.hubs import HuggingFace
    from chatui.catalog.local_models import cached_repositories

    memory = psutil.virtual_memory().total
    models = len({repository.hub_id for repository in cached_repositories()})
    chat_model = catalog.recommended_model(memory, settings)
    return Findings(memory, _nvidia_gpus(), models, chat_model, HuggingFace().host)


async def first_server_model(settings: Settings) -> ModelEntry | None:
    """Return the first model of the servers in the settings and on this machine, or None."""
    from chatui.backends import servers

    ports = [each for each in servers.USUAL_PORTS if _listens(each[0])]
    if not ports and not settings.servers:
        return None
    return next((row for row in await servers.entries(settings, ports=ports) if row.usable), None)


def _listens(port: int) -> bool:
    """Return whether a local port accepts connections; much cheaper than a client."""
    try:
        socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def _nvidia_gpus() -> tuple[str, ...]:
    """Return name and memory of each NVIDIA GPU, by nvidia-smi: the app does not import torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return tuple(one_line(line.replace(", ", " "), 40) for line in lines[:8])
