"""A headless Chromium, driven by its DevTools protocol (chromedevtools.github.io)."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pyte
import pytest
from real_terminal import Screen

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome", "chromium-headless-shell")


def executable() -> str:
    """Return Chromium's path, from CHATUI_CHROMIUM or its usual names; skip the test without it."""
    found = os.environ.get("CHATUI_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if not found:
        pytest.skip("Chromium is not at hand (install it, or set CHATUI_CHROMIUM)")
    return found


async def until(condition: Callable[[], object], seconds: float = 150) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("it did not come")
        await asyncio.sleep(0.02)


class Page:
    """A page of the browser, and the terminal drawn by its websocket's frames.

    Attributes:
        requested: addresses that the page asked for.
        statuses: HTTP status by address.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requested: list[str] = []
        self.statuses: dict[str, int] = {}
        self.screen = Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    async def listen(self) -> None:
        async for message in self._socket:
            said = message.json()
            if "id" in said:
                self._waiting.pop(said["id"]).set_result(said)
                continue
            parameters = said["params"]
            if said["method"] == "Network.requestWillBeSent":
                self.requested.append(parameters["request"]["url"])
            elif said["method"] == "Network.responseReceived":
                answer = parameters["response"]
                self.statuses[answer["url"]] = answer["status"]
            elif said["method"] == "Network.webSocketFrameReceived":
                frame = parameters["response"]
                if frame["opcode"] == 2:
                    self._stream.feed(base64.b64decode(frame["payloadData"]))
            elif said["method"] == "Network.webSocketFrameSent":
                frame = parameters["response"]["payloadData"]
                if frame.startswith('["resize"'):
                    size = json.loads(frame)[1]
                    self.screen.resize(size["height"], size["width"])

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await asyncio.wait_for(self._waiting[number], 30)
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    async def type(self, text: str) -> None:
        """Type as an input method does: compose, then insert."""
        await self.call("Input.imeSetComposition", text=text, selectionStart=0, selectionEnd=0)
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int, text: str = "") -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    async def picture(self) -> bytes:
        """Return a screenshot of the page, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])

    async def until_true(self, expression: str) -> None:
        """Wait until a JavaScript expression is true on the page."""
        for _ in range(1000):
            if await self.evaluate(expression):
                return
            await asyncio.sleep(0.02)
        raise TimeoutError(expression)


@asynccontextmanager
async def opened(folder: Path, width: int = 800, height: int = 480) -> AsyncIterator[Page]:
    """Start a browser with an empty page, and its profile in ``folder``."""
    process = await asyncio.create_subprocess_exec(
        executable(),
        "--headless",
        "--no-sandbox",
        "--no-first-run",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--enable-unsafe-swiftshader",
        f"--window-size={width},{height}",
        f"--user-data-dir={folder}",
        "--remote-debugging-port=0",
        "about:blank",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        said = folder / "DevToolsActivePort"
        await until(lambda: said.exists() and said.read_text().count("\n"))
        port = said.read_text().split("\n")[0]
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/json/list") as answer:
                targets = await answer.json()
            target = next(each for each in targets if each["type"] == "page")
            async with client.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                page = Page(socket)
                listening = asyncio.create_task(page.listen())
                for domain in ("Page", "Network", "Runtime"):
                    await page.call(f"{domain}.enable")
                yield page
                listening.cancel()
    finally:
        process.terminate()
        await process.wait()
