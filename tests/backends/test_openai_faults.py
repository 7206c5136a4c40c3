"""Failures of servers and connections: one sentence each, and the text so far is kept."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from faulty_server import MODELS, STREAM, FaultyServer, ask, chunk, load, response, word

from chatui.backends import registry, servers
from chatui.backends.openai import client
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest
from chatui.tui.turn import Turns
from chatui.tui.turn_messages import TurnMessage


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
    monkeypatch.setattr(client, "STALL_SECONDS", 0.2)
    faulty.answer = faulty.say(STREAM, word("一"), then="wait")
    text, sentence = await ask(faulty.url)
    assert text == "一" and "stopped sending" in sentence
    await asyncio.wait_for(faulty.closed_by_client.wait(), 2)


async def test_a_slow_server_does_not_time_out(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "STALL_SECONDS", 0.3)

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
