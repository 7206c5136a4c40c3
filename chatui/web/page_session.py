"""One open page: the app process that it shows."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress

from textual_serve.app_service import AppService

from chatui.web import PAGE_DRIVER

QUIT_SECONDS = 8.0
"""An app that was asked to end, and is to write down what its reply has said, gets so long."""


class PageSession(AppService):
    """An app process of its own; it ends with its page, with all that it started."""

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        environment = self._build_environment(width, height)
        # The same command once more; with this driver it is the app.
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable,
            *sys.orig_argv[1:],
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env={**environment, "TEXTUAL_DRIVER": PAGE_DRIVER},
            start_new_session=True,
        )
        self._stdin = process.stdin
        return process

    async def run(self) -> None:
        await super().run()
        await self.remote_close()

    async def stop(self) -> None:
        """End the app: by a request, and by force if it does not follow."""
        process, self._process = self._process, None
        if process is None:
            return
        await self._download_manager.cancel_app_downloads(self.app_service_id)
        await self.send_meta({"type": "quit"})
        if self._task is not None:
            self._task.cancel()
            await self._task
        with suppress(asyncio.TimeoutError, ConnectionError):
            # What it still draws is read and dropped, or it would wait for a reader.
            await asyncio.wait_for(process.communicate(), QUIT_SECONDS)
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
