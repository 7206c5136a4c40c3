"""Addresses, keys and lists of models of servers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import keyring
import keyring.backend
import keyring.errors
import pytest

from chatui.backends import servers
from chatui.backends.openai import address
from chatui.backends.openai.model_list import ask_with_key
from chatui.backends.openai.server_errors import KeyWantedError
from chatui.errors import ChatuiError
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


class Keyring(keyring.backend.KeyringBackend):
    """A keyring with one entry."""

    priority = 1  # type: ignore[assignment]

    def __init__(self, username: str, seconds: float = 0) -> None:
        super().__init__()
        self._username = username
        self._seconds = seconds

    def get_password(self, service: str, username: str) -> str | None:
        time.sleep(self._seconds)
        return "sk-ring" if (service, username) == ("chatui", self._username) else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError

    def delete_password(self, service: str, username: str) -> None:
        raise NotImplementedError


@pytest.fixture
def ring() -> Iterator[None]:
    former = keyring.get_keyring()
    yield
    keyring.set_keyring(former)


@pytest.mark.parametrize("username", ["https://gpu/v1", "gpu"])
async def test_a_key_from_the_keyring(ring: None, username: str) -> None:
    keyring.set_keyring(Keyring(username))
    key = await address.from_keyring("https://gpu/v1")
    assert key is not None and key.value == "sk-ring"
    assert "sk-ring" not in repr(key)
    assert await address.from_keyring("https://elsewhere/v1") is None


async def test_a_keyring_that_does_not_answer_times_out(
    ring: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "_KEYRING_SECONDS", 0.05)
    keyring.set_keyring(Keyring("gpu", seconds=0.3))
    assert await address.from_keyring("https://gpu/v1") is None


async def test_a_local_server_that_needs_a_key_gets_it_from_the_keyring(ring: None) -> None:
    seen: list[address.Key | None] = []

    async def ask(key: address.Key | None) -> str:
        seen.append(key)
        if key is None:
            raise KeyWantedError("a key, please")
        return key.value

    url = "http://127.0.0.1:8000/v1"
    keyring.set_keyring(Keyring(url))
    assert await ask_with_key(url, "", ask) == "sk-ring"
    assert seen[0] is None and len(seen) == 2
    keyring.set_keyring(Keyring("another"))
    with pytest.raises(KeyWantedError):
        await ask_with_key(url, "", ask)
    assert len(seen) == 3


@pytest.mark.parametrize("value", ["sk-sec ret", "sk-secret\nx", "sk-secret密", "“sk-secret”"])
async def test_an_invalid_key_is_refused_and_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINY_KEY", value)
    with pytest.raises(ChatuiError, match="TINY_KEY") as error:
        await servers.models_of(Server(url="http://127.0.0.1:9", key_env="TINY_KEY"))
    assert "sec" not in str(error.value)


def test_openai_api_key_is_sent_to_openai_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    assert address.from_environment("http://localhost:8000/v1") is None
    assert address.from_environment("https://api.openai.com.evil.org/v1") is None
    key = address.from_environment("https://api.openai.com/v1")
    assert key is not None and key.value == "sk-openai"
    assert address.from_environment("https://gpu/v1", "UNSET_VARIABLE") is None


def test_fields_dropped_after_a_refusal() -> None:
    from chatui.backends.openai.request_fields import drop_refused_fields

    fields = {
        "model": "m",
        "messages": [],
        "top_k": 5,
        "seed": 1,
        "temperature": 0.5,
        "stop": ["a"],
    }
    left = drop_refused_fields(fields, "Unrecognized request argument supplied: top_k")
    assert left is not None and set(fields) - set(left) == {"top_k"}
    left = drop_refused_fields(fields, "bad request")
    assert left is not None and set(fields) - set(left) == {"top_k", "seed"}
    left = drop_refused_fields(left, "bad request")
    assert left is not None and set(left) == {"model", "messages", "stop"}
    left = drop_refused_fields(left, "bad request")
    assert left is not None and set(left) == {"model", "messages"}
    assert drop_refused_fields(left, "bad request") is None
    many = {"stop": list("abcdef")}
    assert drop_refused_fields(many, "'stop' takes at most 4") == {"stop": list("abcd")}
    assert drop_refused_fields({"max_tokens": 5}, "use max_completion_tokens instead") == {
        "max_completion_tokens": 5
    }
