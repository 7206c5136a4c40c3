"""Failures of servers and connections: one sentence each, and the text so far is kept."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from chatui.backends import registry, servers
from chatui.backends.openai import streamed_reply
from chatui.backends.openai.backend import OpenAIBackend
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest, Loaded, Token
from chatui.settings import Server
from chatui.tui.turn import Turns
from chatui.tui.turn_messages import TurnMessage

Answer: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
MODELS = json.dumps({"object": "list", "data": [{"id": "m", "max_model_len": 4096}]}).encode()


def chunk(payload: str) -> bytes:
    event = f"data: {payload}\n\n".encode()
    return f"{len(event):x}\r\n".encode() + event + b"\r\n"


def word(text: str, finish: str | None = None) -> bytes:
    choice = {"delta": {"content": text}, "finish_reason": finish}
    return chunk(json.dumps({"choices": [choice]}))


def response(status: int, body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class FaultyServer:
    """Lists one model, and answers requests with ``answer``."""

    def __init__(self) -> None:
        self.answer: Answer = self.say(response(500, b"{}"))
        self.models = response(200, MODELS)
        self.closed_by_client = asyncio.Event()
        self.url = ""

    def say(self, *parts: bytes, then: str = "close") -> Answer:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.01)
            if then == "wait":
                await reader.read()
                self.closed_by_client.set()

        return answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = head.partition("content-length: ")[2].split("\r\n")[0]
                await reader.readexactly(int(length or 0))
                if head.startswith("get /v1/models"):
                    writer.write(self.models)
                    if not self.models.startswith(b"HTTP"):
                        return
                elif head.startswith("post /v1/chat/completions"):
                    await self.answer(reader, writer)
                    return
                else:
                    writer.write(response(404, b"{}"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyServer]:
    server = FaultyServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    yield server
    listener.close()


async def load(url: str, model: str = "m") -> OpenAIBackend:
    backend = OpenAIBackend()
    async for event in backend.load(servers.spec_for(url, model)):
        if isinstance(event, Loaded):
            assert event.context_limit == 4096
    return backend


async def replied(backend: OpenAIBackend, query: str = "你好") -> Done:
    """Return the end of a reply, after checking its text against the streamed tokens."""
    events = [event async for event in backend.generate(GenerateRequest(query))]
    await backend.close()
    done = events[-1]
    assert isinstance(done, Done)
    assert "".join(event.text for event in events if isinstance(event, Token)).strip() == done.text
    return done


async def ask(url: str) -> tuple[str, str]:
    """Return the text so far and the error sentence of one query."""
    backend = await load(url)
    text = ""
    try:
        with pytest.raises(ChatuiError) as error:
            async for event in backend.generate(GenerateRequest("你好")):
                if isinstance(event, Token):
                    text += event.text
    finally:
        await backend.close()
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".")
    assert "Traceback" not in sentence and len(sentence) < 400
    return text, sentence


async def test_a_connection_lost_during_the_reply_keeps_the_text(faulty: FaultyServer) -> None:
    faulty.answer = faulty.say(STREAM, word("一"), word("二"))
    text, sentence = await ask(faulty.url)
    assert text == "一二"
    assert "in the middle of the reply" in sentence


async def test_a_connection_lost_before_the_reply(faulty: FaultyServer) -> None:
    """llama-cpp-python's server does this if the prompt is too long."""
    for parts in ((STREAM,), (STREAM, word("")), (STREAM, b"0\r\n\r\n")):
        faulty.answer = faulty.say(*parts)
        assert "before the reply began" in (await ask(faulty.url))[1]


async def test_a_stream_without_an_end_is_a_lost_connection(faulty: FaultyServer) -> None:
    faulty.answer = faulty.say(STREAM, word("一"), b"0\r\n\r\n")
    assert (await ask(faulty.url))[0] == "一"


@pytest.mark.parametrize(
    "garbage",
    [
        chunk("{not json"),
        chunk("[1, 2]"),
        chunk('{"choices": "x"}'),
        chunk('{"choices": [{"delta": {"content": 7}}]}'),
        chunk('{"object": "x"}'),
        b"4\r\n\xff\xfe\x00\n\r\n",
        chunk("\udcff".encode("utf-8", "surrogateescape").decode("latin-1")),
    ],
)
async def test_invalid_data_in_the_stream_keeps_the_text(
    faulty: FaultyServer, garbage: bytes
) -> None:
    faulty.answer = faulty.say(STREAM, word("一"), garbage)
    text, sentence = await ask(faulty.url)
    assert text == "一"
    assert faulty.url in sentence


async def test_an_invalid_answer_is_one_error(faulty: FaultyServer) -> None:
    faulty.answer = faulty.say(response(200, b"<html>hello</html>", "text/html"))
    assert "not a reply" in (await ask(faulty.url))[1]


async def test_an_error_within_the_stream_is_reported(faulty: FaultyServer) -> None:
    error = json.dumps({"error": {"message": "CUDA out of memory"}})
    faulty.answer = faulty.say(STREAM, word("一"), chunk(error))
    text, sentence = await ask(faulty.url)
    assert text == "一" and "CUDA out of memory" in sentence


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "needs an API key"),
        (403, "needs an API key"),
        (404, "no model “m”"),
        (429, "429"),
        (500, "(500)"),
        (502, "(502)"),
        (503, "(503)"),
        (418, "(418)"),
        (400, "(400)"),
    ],
)
async def test_a_refusal_is_one_sentence(faulty: FaultyServer, status: int, words: str) -> None:
    for body in (b'{"error": {"message": "because"}}', b"<html>\nno\n</html>", b""):
        faulty.answer = faulty.say(response(status, body))
        text, sentence = await ask(faulty.url)
        assert text == "" and words in sentence
        assert ("because" in sentence) == (b"because" in body)
        assert "<html>" not in sentence


async def test_a_model_without_a_chat_template_is_told_the_next_step(faulty: FaultyServer) -> None:
    """The message is vLLM's."""
    message = "default chat template is no longer allowed, so you must provide a chat template"
    faulty.answer = faulty.say(response(400, json.dumps({"error": {"message": message}}).encode()))
    assert "--format" in (await ask(faulty.url))[1]


async def test_https_to_a_plain_http_server(faulty: FaultyServer) -> None:
    with pytest.raises(ChatuiError, match="use http://"):
        await servers.models_of(faulty.url.replace("http:", "https:"), seconds=0.2)


PROXIES = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)


async def test_errors_name_the_proxy_without_its_password(
    monkeypatch: pytest.MonkeyPatch, without_proxies: None
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(502, b""))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        for host, words in ((f"127.0.0.1:{port}", "(502)"), ("127.0.0.1:9", "No server answers")):
            monkeypatch.setenv("http_proxy", f"http://user:secret@{host}")
            with pytest.raises(ChatuiError) as error:
                await servers.models_of("http://gpu.invalid:8000")
            assert words in str(error.value) and f"the proxy {host};" in str(error.value)
            assert "secret" not in str(error.value)
        monkeypatch.setenv("no_proxy", "gpu.invalid")
        with pytest.raises(ChatuiError) as error:
            await servers.models_of("http://gpu.invalid:8000")
        assert "was not found" in str(error.value) and "proxy" not in str(error.value)


async def test_loopback_servers_are_reached_without_the_proxy(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch, without_proxies: None
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("all_proxy", "strange://127.0.0.1:9")
    assert [model.id for model in await servers.models_of(faulty.url)] == ["m"]


async def test_a_socks_proxy_can_be_used(
    monkeypatch: pytest.MonkeyPatch, without_proxies: None
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(3) == b"\x05\x01\x00"
        writer.write(b"\x05\x00")
        head = await reader.readexactly(5)
        assert await reader.readexactly(head[4] + 2) == b"gpu.invalid" + (8000).to_bytes(2, "big")
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200, MODELS))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("all_proxy", f"socks5://127.0.0.1:{port}")
        models = await servers.models_of("http://gpu.invalid:8000")
    assert [model.id for model in models] == ["m"]


async def test_an_invalid_proxy_is_one_error(
    monkeypatch: pytest.MonkeyPatch, without_proxies: None
) -> None:
    monkeypatch.setenv("http_proxy", "strange://user:secret@127.0.0.1:9")
    with pytest.raises(ChatuiError, match=r"^The proxy 127\.0\.0\.1:9 from"):
        await servers.models_of("http://gpu.invalid:8000")


async def test_a_silent_server_times_out(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_reply, "STALL_SECONDS", 0.2)
    faulty.answer = faulty.say(STREAM, word("一"), then="wait")
    text, sentence = await ask(faulty.url)
    assert text == "一" and "stopped sending" in sentence
    await asyncio.wait_for(faulty.closed_by_client.wait(), 2)


async def test_a_slow_server_does_not_time_out(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_reply, "STALL_SECONDS", 0.3)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in (STREAM, word("一"), word("二"), word("三", "stop"), b"0\r\n\r\n"):
            await asyncio.sleep(0.15)
            writer.write(part)

    faulty.answer = slow
    backend = await load(faulty.url)
    events = [event async for event in backend.generate(GenerateRequest("你好"))]
    await backend.close()
    done = events[-1]
    assert isinstance(done, Done) and done.text == "一二三"


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stop_closes_the_connection_at_once(faulty: FaultyServer, begun: bool) -> None:
    parts = (STREAM, word("一")) if begun else ()
    faulty.answer = faulty.say(*parts, then="wait")
    backend = await load(faulty.url)
    events = []

    async def read() -> None:
        async for event in backend.generate(GenerateRequest("你好")):
            events.append(event)

    reading = asyncio.create_task(read())
    await asyncio.sleep(0.2)
    await backend.stop()
    await asyncio.wait_for(reading, 1)
    await asyncio.wait_for(faulty.closed_by_client.wait(), 1)
    await backend.close()
    done = events[-1]
    assert isinstance(done, Done)
    assert done.finish_reason == "cancelled"
    assert done.text == ("一" if begun else "")


async def test_the_next_round_works_after_a_fault(faulty: FaultyServer) -> None:
    backend = await load(faulty.url)
    with pytest.raises(ChatuiError):
        async for _ in backend.generate(GenerateRequest("你好")):
            pass
    faulty.answer = faulty.say(STREAM, word("好", "stop"), chunk("[DONE]"), b"0\r\n\r\n")
    events = [event async for event in backend.generate(GenerateRequest("你好"))]
    await backend.close()
    done = events[-1]
    assert isinstance(done, Done) and done.text == "好" and done.finish_reason == "eos"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def test_no_server_at_the_address() -> None:
    with pytest.raises(ChatuiError, match="No server answers"):
        await load(f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ChatuiError, match="was not found"):
        await load("http://no-such-host.invalid/v1")


@pytest.mark.parametrize(
    ("models", "words"),
    [
        (response(200, b"<html>hello</html>", "text/html"), "not an OpenAI-compatible server"),
        (response(200, b'{"object": "list", "data": [{"id": "n"}, 7, {}]}'), "it offers n"),
        (response(500, b""), "(500)"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "not answer in HTTP"),
        (b"", "was lost"),
    ],
)
async def test_an_address_of_another_server(
    faulty: FaultyServer, models: bytes, words: str
) -> None:
    faulty.models = models
    with pytest.raises(ChatuiError) as error:
        await load(faulty.url)
    assert words in str(error.value)


@pytest.mark.parametrize(
    "models",
    [
        response(404, b"<html>nginx</html>", "text/html"),
        response(405, b""),
        response(403, b'{"error": "not for this key"}'),
        response(200, b'{"data": 7}'),
        response(200, b""),
    ],
)
async def test_a_named_model_needs_no_list_of_models(
    faulty: FaultyServer, models: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.models = models
    monkeypatch.setenv("A_KEY", "secret")
    entry = Server(url=faulty.url, key_env="A_KEY")
    faulty.answer = faulty.say(STREAM, word("好", "stop"), b"0\r\n\r\n")
    backend = OpenAIBackend()
    loaded = [event async for event in backend.load(servers.spec_for(entry, "m"))]
    assert isinstance(loaded[-1], Loaded)
    assert (await replied(backend)).text == "好"
    with pytest.raises(ChatuiError):
        async for _ in OpenAIBackend().load(servers.spec_for(entry, "")):
            pass


@pytest.mark.parametrize(
    "body", ['["m", "n"]', '[{"id": "m"}]', '{"models": [{"name": "m", "model": "m"}]}']
)
async def test_lists_of_models_in_other_shapes(faulty: FaultyServer, body: str) -> None:
    faulty.models = response(200, body.encode())
    assert "m" in [model.id for model in await servers.models_of(faulty.url)]


async def test_a_server_without_any_model(faulty: FaultyServer) -> None:
    faulty.models = response(200, b'{"object": "list", "data": null}')
    with pytest.raises(ChatuiError, match="no model"):
        await load(faulty.url, "")


async def test_a_failed_round_keeps_its_text_and_can_be_regenerated(faulty: FaultyServer) -> None:
    """A whole turn: the round in the store, the error, and the second try."""
    faulty.answer = faulty.say(STREAM, word("春"), word("风"))
    store = Store(None)
    told: list[TurnMessage] = []
    turns = Turns(servers.spec_for(faulty.url, "m"), store, registry.create, told.append)
    running = asyncio.create_task(turns.run())

    async def settled() -> None:
        await asyncio.sleep(0)
        while turns.is_busy:  # noqa: ASYNC110  # the turns tell of much, but not of this
            await asyncio.sleep(0.01)

    turns.ask("写诗")
    await asyncio.wait_for(settled(), 10)
    assert turns.conversation is not None
    (broken,) = store.rounds(turns.conversation.id)
    assert (broken.state, broken.reply) == ("failed", "春风")
    assert broken.error is not None and "in the middle of the reply" in broken.error

    faulty.answer = faulty.say(STREAM, word("春风又绿", "stop"), b"0\r\n\r\n")
    turns.regenerate(broken)
    await asyncio.wait_for(settled(), 10)
    (again,) = store.rounds(turns.conversation.id)
    assert (again.state, again.reply) == ("done", "春风又绿")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await turns.close()
