"""Addresses, keys and lists of models of servers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest
from faulty_server import STREAM, FaultyServer, load, replied, response, word
from tiny_server import CONTEXT, TinyServer, loaded

from chatui.backends import servers
from chatui.backends.openai import address
from chatui.backends.openai.backend import OpenAIBackend
from chatui.backends.openai.model_list import ListedModel, choose_model
from chatui.errors import ChatuiError
from chatui.messages import Loaded
from chatui.settings import Server, Settings


@pytest.mark.parametrize(
    ("typed", "base"),
    [
        ("localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1"),
        (" https://api.deepseek.com ", "https://api.deepseek.com/v1"),
        ("https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4"),
        ("http://gpu:30000/v1/chat/completions", "http://gpu:30000/v1"),
        ("[::1]:8080", "http://[::1]:8080/v1"),
        ("HTTP://Host", "http://Host/v1"),
    ],
)
def test_typed_addresses_become_base_urls(typed: str, base: str) -> None:
    assert address.base_url(typed) == base


@pytest.mark.parametrize(
    "typed", ["", "http://", "ftp://host", "http://host:99999", "http://a b", "a\nb", "file:///etc"]
)
def test_invalid_addresses_are_refused(typed: str) -> None:
    with pytest.raises(ChatuiError, match="is not a server address"):
        address.base_url(typed)


def test_a_key_in_the_address_is_refused_and_not_shown() -> None:
    for typed in ("http://user:sk-secret@host/v1", "https://host/v1?key=sk-secret", "sk-secret@h"):
        with pytest.raises(ChatuiError) as error:
            address.base_url(typed)
        assert "sk-secret" not in str(error.value)


def test_loopback_addresses() -> None:
    assert address.is_loopback("http://localhost:1/v1")
    assert address.is_loopback("http://127.3.2.1/v1")
    assert address.is_loopback("http://[::1]:8/v1")
    assert not address.is_loopback("http://10.0.0.1/v1")
    assert not address.is_loopback("http://localhost.evil.org/v1")


async def test_a_probe_of_silent_and_closed_ports_is_quick_and_does_not_block() -> None:
    # One port accepts and never answers, another is closed.
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    beats = 0

    async def heart() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.01)

    heartbeat = asyncio.create_task(heart())
    started = time.perf_counter()
    settings = Settings(servers=(Server(url="no address"),))
    found = await servers.entries(settings, ports=((port, "a"), (1, "b")))
    seconds = time.perf_counter() - started
    heartbeat.cancel()
    silent.close()
    assert [row.usable for row in found] == [False]
    assert seconds < 5
    assert beats > 10


async def test_a_server_of_the_settings_that_fails_has_a_row() -> None:
    settings = Settings(servers=(Server("http://127.0.0.1:9", "gpu"), Server("bad address")))
    rows = {entry.reference: entry for entry in await servers.entries(settings)}
    assert not rows["gpu"].usable and "127.0.0.1:9" in rows["gpu"].missing
    assert not rows["?"].usable and "bad address" in rows["?"].missing


def test_a_spec_carries_the_servers_settings() -> None:
    entry = Server(url="gpu:8000", name="gpu", api="completions", key_env="GPU_KEY")
    spec = servers.spec_for(entry, "luotuo", format="luotuo")
    assert (spec.backend, spec.server, spec.path) == ("openai", "http://gpu:8000/v1", "luotuo")
    assert (spec.name, spec.format, spec.key_env) == ("gpu:luotuo", "luotuo", "GPU_KEY")
    assert servers.spec_for(entry, "x").format == "bloomz"
    assert servers.spec_for("gpu:8000", "x").format == "chat-template"


def test_a_reference_names_a_server_and_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Server(url="http://gpu:8000", name="GPU", api="completions", key_env="GPU_KEY")
    settings = Settings(servers=(gpu, Server(url="bad address"), Server(url="other:1")))
    spec = servers.resolve("gpu:org/model:4b", settings, format="luotuo")
    assert spec is not None
    assert (spec.server, spec.path, spec.key_env) == (
        "http://gpu:8000/v1",
        "org/model:4b",
        "GPU_KEY",
    )
    assert (spec.name, spec.format, spec.backend) == ("GPU:org/model:4b", "luotuo", "openai")
    ollama = servers.resolve("ollama:qwen3:0.6b", settings)
    assert ollama is not None and ollama.server == "http://127.0.0.1:11434/v1"
    assert ollama.path == "qwen3:0.6b" and ollama.format == "chat-template"
    unnamed = servers.resolve("other:1:m", settings)
    assert unnamed is not None and unnamed.server == "http://other:1/v1" and unnamed.path == "m"
    for reference in ("shiyou", "gpu", "Qwen/Qwen3-8B", "C:\\models\\x.gguf", ""):
        assert servers.resolve(reference, settings) is None


def test_an_address_takes_name_and_key_from_the_settings() -> None:
    gpu = Server(url="http://gpu:8000/v1/", name="gpu", key_env="GPU_KEY")
    settings = Settings(servers=(gpu,), sampling={"temperature": 0.2}, max_new_tokens=50)
    assert servers.with_server(settings, "gpu:8000") is settings
    added = servers.with_server(settings, "elsewhere:1")
    assert [server.url for server in added.servers] == ["elsewhere:1", gpu.url]
    spec = servers.resolve("", settings, server="gpu:8000")
    assert spec is not None and (spec.key_env, spec.path, spec.name) == ("GPU_KEY", "", "gpu")
    assert (spec.sampling.temperature, spec.sampling.max_new_tokens) == (0.2, 50)
    with pytest.raises(ChatuiError, match="not a server address"):
        servers.with_server(settings, "ftp://x")


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


def test_an_adapter_of_a_listed_base_is_accepted() -> None:
    listed = (ListedModel("org/base", 4096), ListedModel("qwen3:0.6b"))
    assert choose_model(listed, "org/base:luotuo", "http://h/v1") == ListedModel(
        "org/base:luotuo", 4096
    )
    tagged = (ListedModel("qwen3", 4096), ListedModel("qwen3:0.6b", 8192))
    assert choose_model(tagged, "qwen3:0.6b", "http://h/v1") == tagged[1]
    with pytest.raises(ChatuiError):
        choose_model(listed, "org/baseline", "http://h/v1")


def test_a_model_is_found_without_its_owner() -> None:
    listed = (
        ListedModel("other/Qwen3-8B-AWQ"),
        ListedModel("Qwen/Qwen3-8B"),
        ListedModel("Qwen3-8B-AWQ"),
    )
    assert choose_model(listed, "Qwen3-8B", "http://h/v1").id == "Qwen/Qwen3-8B"
    assert choose_model(listed, "Qwen3-8B-AWQ", "http://h/v1").id == "Qwen3-8B-AWQ"


async def test_the_default_model_is_the_first_listed(server: TinyServer) -> None:
    backend = OpenAIBackend()
    spec = servers.spec_for(server.url)
    event = await loaded(backend, spec)
    again = await loaded(backend, replace(spec, name=event.name))
    # The window that the user asks for, and never more than the server has.
    for asked, limit in ((60, 60), (10**8, CONTEXT)):
        assert (await loaded(backend, replace(spec, context=asked))).context_limit == limit
    await backend.close()
    assert event.name == again.name == f"{spec.name}:tiny"
    assert event.context_limit == CONTEXT
