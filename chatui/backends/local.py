"""The local engine: a client for :mod:`chatui.engine.process` on an asyncio pipe."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from chatui import locations, wire
from chatui.errors import BackendLost, ChatuiError
from chatui.locales import say
from chatui.messages import (
    Done,
    Event,
    Failed,
    GenerateRequest,
    Inspection,
    Loaded,
    LoadEvent,
    ModelSpec,
    ReplyEvent,
    Scored,
)

# The engine must not import, say, a random.py from the current folder, but must find the same
# chatui as this process.
_BOOT_CODE = (
    "import sys\n"
    "sys.path[:] = [p for p in sys.path if p] + [sys.argv.pop()]\n"
    "from pkgutil import resolve_name\n"
    "resolve_name(sys.argv.pop())()"
)
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_MAX_LINE_BYTES = 1 << 28
_QUIT_SECONDS = 1.0


class _EngineDiedError(BackendLost):
    """The engine's process has ended."""


class LocalBackend:
    """Runs local models in the engine's process (see ``Backend`` for the methods).

    :meth:`start` or the first :meth:`load` starts the process; if it died, the next ``load`` starts
    it again. Requests run one after another.

    Attributes:
        server: "module:function" that the process runs.
    """

    server = "chatui.engine.process:serve_torch"

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._draining: asyncio.Task[None] | None = None
        self._loaded = False

    @property
    def pid(self) -> int | None:
        """The id of the engine's process; None without a process."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the engine's process, which imports torch in the background.

        Raises:
            ChatuiError: the process cannot be started.
        """
        if await self._alive():
            return
        self._loaded = False
        command = (sys.executable, "-X", "faulthandler", "-c", _BOOT_CODE)
        try:
            with _open_log() as log:
                self._process = await asyncio.create_subprocess_exec(
                    *(*command, self.server, _PACKAGE_PARENT),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=log,
                    limit=_MAX_LINE_BYTES,
                    env=os.environ | {"PYTHONUNBUFFERED": "1"},
                )
        except OSError as error:
            raise ChatuiError(say("engine.cannot_start", reason=error)) from error

    async def load(self, spec: ModelSpec) -> AsyncIterator[LoadEvent]:
        async with self._turn:
            # The end of an idle process may show only at the next command.
            for again in (await self._alive(), False):
                await self.start()
                try:
                    async with aclosing(self._ask(wire.Load(spec))) as events:
                        async for event in events:
                            again = False
                            yield event
                    return
                except _EngineDiedError:
                    if not again:
                        raise

    def generate(self, request: GenerateRequest) -> AsyncGenerator[ReplyEvent, None]:
        return self._ask(wire.Generate(request), self._turn)

    async def inspect(self, request: GenerateRequest, top: int = 8) -> Inspection:
        inspection: Inspection = await self._answer(wire.Inspect(request, top))
        return inspection

    async def score(self, request: GenerateRequest) -> Scored:
        scored: Scored = await self._answer(wire.Score(request))
        return scored

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ConnectionError):
                await self._send(wire.Stop())

    async def close(self) -> None:
        process, self._process, self._loaded = self._process, None, False
        if process is None or process.stdin is None:
            return
        if process.returncode is None:
            with suppress(ConnectionError):
                process.stdin.write(wire.encode(wire.Quit()))
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), _QUIT_SECONDS)
            except (asyncio.TimeoutError, TimeoutError):
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        await self._drained()

    async def _alive(self) -> bool:
        """Return True if there is a process that has not closed its pipe."""
        # Let the loop notice a process that has just ended.
        await asyncio.sleep(0)
        process = self._process
        if process is None or process.stdout is None or process.returncode is not None:
            return False
        return not process.stdout.at_eof()

    async def _send(self, command: wire.Command) -> None:
        if self._process is None or self._process.stdin is None:
            raise ConnectionResetError
        self._process.stdin.write(wire.encode(command))
        await self._process.stdin.drain()

    async def _receive(self) -> Event:
        """Return the next event; raises BackendLost if the process has ended."""
        process = self._process
        if process is None or process.stdout is None:
            raise BackendLost(say("engine.no_model"))
        while True:
            line = await process.stdout.readline()
            if not line.endswith(b"\n"):
                self._loaded = False
                code = await process.wait()
                key = "killed" if code == -9 else "died"
                raise _EngineDiedError(say(f"engine.{key}", code=code))
            try:
                message = wire.decode(line)
            except ValueError:
                continue
            self._loaded = self._loaded or isinstance(message, Loaded)
            return message  # type: ignore[return-value]  # the engine sends events only

    async def _answer(self, command: wire.Command) -> Any:
        """Send a command for the loaded model, and return its one event."""
        async with aclosing(self._ask(command, self._turn)) as events:
            return await anext(events)

    async def _ask(
        self, command: wire.Command, turn: AbstractAsyncContextManager[None] | None = None
    ) -> AsyncGenerator[Any, None]:
        """Send a command and yield its events; ``Failed`` is raised as ChatuiError.

        Args:
            turn: lock for commands that need a loaded model; None for a load, which holds it.
        """
        finished = False
        async with turn or nullcontext():
            if turn is not None and not self._loaded:
                raise BackendLost(say("engine.no_model"))
            await self._drained()
            try:
                # If the process has ended, the next read raises.
                with suppress(ConnectionError):
                    await self._send(command)
                while not finished:
                    event = await self._receive()
                    finished = _is_last(event)
                    if isinstance(event, Failed):
                        raise ChatuiError(event.sentence)
                    yield event
            finally:
                if not finished:
                    self._draining = asyncio.create_task(self._drain())
                    await self._drained()

    async def _drain(self) -> None:
        """Stop the command after its caller left, and read its remaining events."""
        with suppress(ChatuiError, ConnectionError):
            await self._send(wire.Stop())
            while not _is_last(await self._receive()):
                pass

    async def _drained(self) -> None:
        """Wait until no events of a command without a caller are left."""
        if self._draining is not None:
            await asyncio.shield(self._draining)


class LlamaCppBackend(LocalBackend):
    """Runs GGUF files in llama.cpp's process, one at a time (see ``Backend`` for the methods)."""

    server = "chatui.engine.process:serve_llama_cpp"

    async def start(self) -> None:
        """Start the process.

        Raises:
            ChatuiError: llama-cpp-python is not installed, or the process cannot be started.
        """
        if find_spec("llama_cpp") is None:
            raise ChatuiError(say("backends.llama.missing"))
        await super().start()


def _is_last(event: Event) -> bool:
    return isinstance(event, Loaded | Done | Failed | Inspection | Scored)


def _open_log() -> IO[bytes]:
    """Open the log file for the engine's standard error; the null device if that fails."""
    file = locations.log_file()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("ab")
    except OSError:
        return Path(os.devnull).open("ab")
