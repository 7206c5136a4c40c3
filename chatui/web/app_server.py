"""Serve the app to browsers that know the token, with textual-serve's page and protocol."""

from __future__ import annotations

import asyncio
import hmac
import html
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

from chatui.errors import ChatuiError
from chatui.locales import current_language, say
from chatui.web import PAGE_DRIVER

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers that forbid loading from other hosts, and keep the token out of Referer."""

QUIT_SECONDS = 8.0
"""Seconds that an app has to save its running reply and to end, before it is killed."""

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
logger = logging.getLogger(__name__)


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


class AppServer(Server):
    """Serves one app for each page; requests without the token get status 403.

    Attributes:
        token: required as ``?token=`` in every address.
    """

    def __init__(self, token: str) -> None:
        super().__init__("chatui")
        self.token = token
        self._sessions: set[PageSession] = set()

    async def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self._check])
        app.add_routes(
            [
                web.get("/", self.handle_index),
                web.get("/ws", self.handle_websocket),
                web.get("/download/{key}", self.handle_download),
                web.static("/static", self.statics_path),
            ]
        )
        app.on_shutdown.append(self.on_shutdown)
        return app

    @web.middleware
    async def _check(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        given = request.query.getall("token", [""])
        matches = [hmac.compare_digest(one.encode(), self.token.encode()) for one in given]
        if not all(matches):
            return web.Response(status=403, text=say("web.refused") + "\n", headers=_HEADERS)
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    async def handle_index(self, request: web.Request) -> web.Response:
        page = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
        words = {
            "TOKEN": self.token,
            "LANGUAGE": current_language(),
            "FONT_SIZE": str(min(max(to_int(request.query.get("fontsize", ""), 16), 6), 72)),
            **{
                name.upper(): html.escape(say(f"web.page.{name}"))
                for name in ("loading", "ended", "again")
            },
        }
        for name, value in words.items():
            page = page.replace(f"%{name}%", value)
        return web.Response(text=page, content_type="text/html")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=15)
        await socket.prepare(request)
        session = PageSession(
            self.command,
            write_bytes=socket.send_bytes,
            write_str=socket.send_str,
            close=partial(_close, socket),
            download_manager=self.download_manager,
        )
        self._sessions.add(session)
        width, height = (to_int(request.query.get(name, ""), 80) for name in ("width", "height"))
        try:
            await session.start(min(max(width, 1), 1000), min(max(height, 1), 1000))
            await self._process_messages(socket, session)
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
            logger.warning("a page sent an invalid message", exc_info=True)
        finally:
            await asyncio.shield(session.stop())
            self._sessions.discard(session)
            await socket.close()
        return socket

    async def on_shutdown(self, app: web.Application) -> None:
        await asyncio.gather(*(session.stop() for session in tuple(self._sessions)))

    async def serve_until_interrupted(
        self, host: str, port: int, ready: Callable[[int], None]
    ) -> None:
        """Serve until Ctrl+C or SIGTERM, then end the apps.

        Args:
            port: 0 takes a free port.
            ready: called with the port once the server listens.

        Raises:
            ChatuiError: the server cannot listen on the address.
        """
        runner = web.AppRunner(await self._make_app(), access_log=None, shutdown_timeout=1)
        await runner.setup()
        interrupted = asyncio.Event()
        loop = asyncio.get_running_loop()
        # On Windows a loop has no signal handlers; Ctrl+C ends the command there.
        with suppress(NotImplementedError):
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(each, interrupted.set)
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except (OSError, OverflowError, UnicodeError) as error:
                # asyncio wraps the message of the system in one of its own.
                number = getattr(error, "errno", None) or 0
                reason = OSError(number, os.strerror(number)) if number > 0 else error
                raise ChatuiError(
                    say("web.no_address", host=host, port=port, reason=reason)
                ) from error
            ready(runner.addresses[0][1])
            await interrupted.wait()
        finally:
            await runner.cleanup()


async def _close(socket: web.WebSocketResponse) -> None:
    await socket.close()
