"""API keys from the environment and the keyring."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator

import keyring
import keyring.backend
import keyring.errors
import pytest
from tiny_server import FEW, TinyServer, backend_for, loaded, reply

from chatui.backends import servers
from chatui.backends.openai import address
from chatui.backends.openai.backend import OpenAIBackend
from chatui.backends.openai.connection import KeyWantedError, ask_with_key
from chatui.errors import ChatuiError
from chatui.messages import GenerateRequest
from chatui.settings import Server


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


async def test_the_key_comes_from_the_environment_and_is_shown_nowhere(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    server.key = "sk-very-secret"
    entry = Server(url=server.url, key_env="TINY_KEY")
    spec = servers.spec_for(entry, "tiny")
    backend = OpenAIBackend()
    await loaded(backend, spec)
    events = await reply(backend, GenerateRequest("a", sampling=FEW))
    with pytest.raises(ChatuiError) as wrong_model:
        await loaded(backend, servers.spec_for(entry, "nothing"))
    await backend.close()
    assert server.record.headers[-1]["authorization"] == "Bearer sk-very-secret"
    assert [model.id for model in await servers.models_of(entry)] == ["tiny", "other"]
    for text in (caplog.text, repr(spec), repr(events), repr(backend.__dict__), str(wrong_model)):
        assert "very-secret" not in text and "somebody" not in text


async def test_a_missing_or_wrong_key_is_told_and_never_repeated(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    server.key = "sk-very-secret"
    backend = OpenAIBackend()
    with pytest.raises(ChatuiError, match="needs an API key"):
        await loaded(backend, servers.spec_for(server.url))
    monkeypatch.setenv("TINY_KEY", "sk-wrong")
    with pytest.raises(ChatuiError, match="rejects the API key from TINY_KEY") as error:
        await loaded(backend, servers.spec_for(Server(url=server.url, key_env="TINY_KEY")))
    assert "sk-wrong" not in str(error.value)
    await backend.close()


async def test_no_key_of_the_environment_reaches_a_server_that_is_not_openai(
    server: TinyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-somebody-elses")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-somebody-elses")
    backend = await backend_for(server)
    await reply(backend, GenerateRequest("a", sampling=FEW))
    await backend.close()
    assert "somebody" not in json.dumps(server.record.headers)
    assert "authorization" not in server.record.headers[-1]
