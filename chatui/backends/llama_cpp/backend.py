"""The backend for GGUF files: the local engine's client, in front of llama.cpp's own process."""

from __future__ import annotations

from importlib.util import find_spec

from chatui.backends.local import LocalBackend
from chatui.errors import ChatuiError
from chatui.locales import say


class LlamaCppBackend(LocalBackend):
    """Runs one GGUF file at a time in a process of its own (see ``Backend`` for the methods)."""

    server = "chatui.backends.llama_cpp.process:main"

    async def start(self) -> None:
        """Start the process.

        Raises:
            ChatuiError: llama-cpp-python is not installed, or no process can be started.
        """
        if find_spec("llama_cpp") is None:
            raise ChatuiError(say("backends.llama.missing"))
        await super().start()
