"""The app process of one page."""

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
"""Seconds that an app has to save its running reply and to end, before it is killed."""


class PageSession(AppService):
    """Runs an app process for a page; the process and its children end with the page."""

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        environment = self._build_environment(width, height)
        # The same command; with this driver it runs the app.
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
        """Ask the app to quit, and kill it after :data:`QUIT_SECONDS`."""
        process, self._process = self._process, None
        if process is None:
            return
        await self._download_manager.cancel_app_downloads(self.app_service_id)
        await self.send_meta({"type": "quit"})
        if self._task is not None:
            self._task.cancel()
            await self._task
        with suppress(asyncio.TimeoutError, ConnectionError):
            # Its output is read and dropped, so that it never waits for a reader.
            await asyncio.wait_for(process.communicate(), QUIT_SECONDS)
        with suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
