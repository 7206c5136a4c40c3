"""The OpenAI-compatible backend against llama-cpp-python's server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import forked_engine
import httpx2
import pytest

from chatui.backends import servers
from chatui.backends.local import LlamaCppBackend
from chatui.backends.openai.backend import OpenAIBackend
from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, ReplyEvent, Token
from chatui.sampling import SamplingSettings

for package in ("llama_cpp", "gguf", "uvicorn", "sse_starlette", "starlette_context"):
    pytest.importorskip(package, reason=f"llama-cpp-python's server needs {package}")

START_SECONDS = 60
GREEDY = SamplingSettings(greedy=True, max_new_tokens=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_gguf import make_gguf

    return make_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def port(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server in a separate process, shared by all tests of this file."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "server.log"
    arguments = ["--model", str(model), "--model_alias", "tiny", "--n_ctx", "512"]
    arguments += ["--n_threads", "1", "--n_threads_batch", "1", "--logits_all", "true"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "llama_cpp.server", *arguments, "--port", str(number)],
            stdout=output,
            stderr=output,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                httpx2.get(f"http://127.0.0.1:{number}/v1/models", trust_env=False, timeout=1)
                break
            except httpx2.HTTPError:
                time.sleep(0.1)
        yield number
    finally:
        process.terminate()
        process.wait(20)


async def loaded(port: int, format: str | None = None) -> OpenAIBackend:
    backend = OpenAIBackend()
    spec = replace(servers.spec_for(f"127.0.0.1:{port}", format=format), context_limit=512)
    events = [event async for event in backend.load(spec)]
    assert isinstance(events[-1], Loaded)
    return backend


async def reply(
    backend: OpenAIBackend | LlamaCppBackend, request: GenerateRequest
) -> list[ReplyEvent]:
    return [event async for event in backend.generate(request)]


async def test_three_rounds_match_the_llama_cpp_backend(
    port: int, model: Path, engines: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Greedy replies of the completions API against those of the llama.cpp backend."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    local, remote = forked_engine.forking(LlamaCppBackend()), await loaded(port, "chatglm-6b")
    async for _ in local.load(ModelSpec("t", str(model), "llama.cpp", format="chatglm-6b")):
        pass
    history: tuple[tuple[str, str], ...] = ()
    for query in ("abc", "你好", "ghi"):
        request = GenerateRequest(query, history, sampling=GREEDY)
        here, there = await reply(local, request), await reply(remote, request)
        assert isinstance(here[0], Prefill) and isinstance(there[0], Prefill)
        assert there[0].prompt == here[0].prompt
        assert there[0].prompt_tokens == here[0].prompt_tokens
        done = there[-1]
        assert isinstance(done, Done) and isinstance(here[-1], Done)
        assert done.text == here[-1].text
        assert done.text == "".join(event.text for event in there if isinstance(event, Token))
        assert done.output_tokens == 10
        history = (*history, (query, done.text))
    await local.close()
    await remote.close()


async def test_chat_uses_the_servers_template(port: int) -> None:
    backend = await loaded(port)
    events = await reply(backend, GenerateRequest("abc", (("d", "e"),), sampling=GREEDY))
    await backend.close()
    done = events[-1]
    assert isinstance(done, Done) and len(done.text) == 10


@pytest.mark.parametrize("format", [None, "chatglm-6b"])
async def test_stop_ends_the_reply_and_the_server_is_free(port: int, format: str | None) -> None:
    backend = await loaded(port, format)
    seen: list[ReplyEvent] = []
    long = GenerateRequest("abc", sampling=SamplingSettings(greedy=True, max_new_tokens=400))
    async for event in backend.generate(long):
        seen.append(event)
        if sum(isinstance(event, Token) for event in seen) == 3:
            await backend.stop()
    done = seen[-1]
    assert isinstance(done, Done) and done.finish_reason == "cancelled"
    assert len(done.text) < 400
    after = (await reply(backend, GenerateRequest("abc", sampling=GREEDY)))[-1]
    assert isinstance(after, Done) and len(after.text) == 10
    await backend.close()


async def test_inspect_shows_tokens_and_candidates(port: int) -> None:
    backend = await loaded(port, "bloomz")
    inspection = await backend.inspect(GenerateRequest("你好a"), top=4)
    first = (await reply(backend, GenerateRequest("你好a", sampling=GREEDY)))[-1]
    await backend.close()
    assert inspection.prompt == "你好a"
    assert len(inspection.input_ids) == inspection.context_used == 4
    assert isinstance(first, Done)
    assert inspection.next[0].token.strip() == first.text[0]


async def test_rounds_are_dropped_by_the_servers_own_count(port: int) -> None:
    backend = await loaded(port, "chatglm-6b")
    history = tuple((f"{number}" * 30, "a" * 30) for number in range(10))
    events = await reply(backend, GenerateRequest("z", history, sampling=GREEDY))
    prefill, done = events[0], events[-1]
    assert isinstance(prefill, Prefill) and isinstance(done, Done)
    assert 0 < prefill.dropped_rounds < 10
    assert prefill.prompt_tokens <= 512 - 10
    with pytest.raises(ChatuiError, match="512"):
        await reply(backend, GenerateRequest("长" * 600, sampling=GREEDY))
    await backend.close()
