"""``chatui web``: access control, and the app in a page."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import chromium
import forked_engine
import psutil
import pyte
import pytest
from chromium import until
from real_terminal import Screen

from chatui import locations
from chatui.conversation.store import Store

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="it is ended by a signal"),
    pytest.mark.skipif(
        not (locations.assets_folder() / "shiyou" / "model.safetensors").exists(),
        reason="the embedded model is not in this checkout",
    ),
]


class Served:
    """A running ``chatui web``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        self.url = process.stdout.readline().split("：", 1)[1].strip()
        self.address, _, self.token = self.url.partition("?token=")

    def apps(self) -> list[psutil.Process]:
        """The processes of the apps of all pages, and of their engines."""
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def served(home: Path, engines: None) -> Iterator[Served]:
    command = [*forked_engine.CHATUI, "web", "--port", "0"]
    environment = {**os.environ, "CHATUI_LANG": "zh"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    running = Served(process)
    yield running
    process.kill()
    process.communicate()


class Client:
    """A page without a browser, which reads the app's output and sends keys."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.screen = Screen(80, 24)
        self._stream = pyte.ByteStream(self.screen)

    async def type(self, text: str) -> None:
        await self.socket.send_json(["stdin", text])

    async def listen(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                self._stream.feed(message.data)

    async def until_shown(self, text: str) -> None:
        try:
            await until(lambda: any(text in line for line in self.screen.display))
        except TimeoutError:
            raise TimeoutError("\n".join(self.screen.display)) from None


@asynccontextmanager
async def page_of(served: Served) -> AsyncIterator[Client]:
    parameters = {"width": "80", "height": "24", "token": served.token}
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(served.address + "ws", params=parameters) as socket,
    ):
        page = Client(socket)
        listening = asyncio.create_task(page.listen())
        yield page
        listening.cancel()


async def gone(processes: list[psutil.Process]) -> None:
    await until(lambda: not any(map(runs, processes)))


def runs(process: psutil.Process) -> bool:
    """Whether a process runs; it may end between any two questions about it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_pages_have_conversations_of_their_own(served: Served) -> None:
    await nobody_gets_in_without_the_token(served)
    async with page_of(served) as first, page_of(served) as second:
        for page in (first, second):
            await page.until_shown("诗友在此")
        await first.type("春风又绿江南岸")
        await second.type("床前明月光")
        # Send one key at a time: text and Enter in one burst would be a paste.
        await first.until_shown("│ 春风又绿江南岸")
        await second.until_shown("│ 床前明月光")
        for page in (first, second):
            await page.type("\r")
            await page.until_shown("token/秒")
        assert not any("床前明月光" in line for line in first.screen.display)
        assert not any("春风" in line for line in second.screen.display)
        apps = served.apps()
        assert len(apps) >= 4
        served.process.send_signal(signal.SIGINT)
        await gone(apps)
        assert served.process.wait(10) == 0
    with closing(Store(locations.database_file())) as store:
        said = [[each.query for each in store.rounds(c.id)] for c in store.conversations()]
    assert sorted(said) == [["床前明月光"], ["春风又绿江南岸"]]


async def nobody_gets_in_without_the_token(served: Served) -> None:
    static = "static/js/textual.js"
    wrong = ("", "?token=", "?token=x", f"?token={served.token}&token=x", "?token=%E6%98%A5")
    async with aiohttp.ClientSession() as client:
        for path in ("", static, "ws", "download/abc", "static/", "nothing"):
            for token in wrong:
                async with client.get(served.address + path + token) as answer:
                    assert answer.status == 403, (path, token)
                    assert served.token not in await answer.text()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await client.ws_connect(served.address + "ws?token=x")
        assert refused.value.status == 403
        for path, status in ((static, 200), ("download/abc", 404), ("static/", 403)):
            async with client.get(f"{served.address}{path}?token={served.token}") as answer:
                assert answer.status == status
        async with client.get(served.url) as answer:
            assert "no-referrer" in answer.headers["Referrer-Policy"]


async def test_an_app_ends_with_its_page_and_with_a_killed_server(served: Served) -> None:
    async with page_of(served) as page:
        await page.until_shown("诗友在此")
        apps = served.apps()
    await gone(apps)
    async with page_of(served) as page:
        await page.until_shown("诗友在此")
        apps = served.apps()
        served.process.kill()
        await gone(apps)


async def test_chinese_typed_in_chromium(served: Served, tmp_path: Path) -> None:
    async with chromium.opened(tmp_path / "profile") as page:
        await page.open(served.address + "?token=wrong")
        await until(lambda: 403 in page.statuses.values())
        await page.until_true("document.body.innerText.includes('令牌')")

        await page.open(served.url)
        await until(lambda: "诗友在此" in page.text)
        await page.until_true("document.activeElement.className === 'xterm-helper-textarea'")
        await page.type("写一首七言绝句，题目是《春夜》")
        await until(lambda: "│ 写一首七言绝句，题目是《春夜》" in page.text)
        # The input method opens its window at the caret, after the typed text.
        row = next(i for i, line in enumerate(page.screen.display) if "│ 写一首" in line)
        assert (page.screen.cursor.y, page.screen.cursor.x) == (row, 3 + 30)
        await page.press("Enter", 13, "\r")
        await until(lambda: "，" in page.text.rpartition("   诗友\n")[2])
        await until(lambda: "token/秒" in page.text)
        assert len(page.requested) > 3
        assert all(address.startswith(served.address) for address in page.requested)


REFUSED: tuple[tuple[list[str], str], ...] = (
    (["--host", "0.0.0.0"], "--allow-remote"),
    (["--host", "no host", "--allow-remote"], "no host"),
    (["--model", "no-such-model"], "no-such-model"),
)


@pytest.mark.parametrize(("options", "word"), REFUSED)
def test_errors_on_serving_are_one_sentence(
    options: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from chatui.cli.parser import run

    assert run(["web", "--port", "0", *options]) == 1
    said = capsys.readouterr()
    assert said.out == "" and word in said.err and said.err.count("\n") == 1


def test_a_port_in_use_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    from chatui.cli.parser import run

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run(["web", "--port", port]) == 1
    assert port in capsys.readouterr().err
