"""The OpenAI-compatible backend against ``transformers serve``."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import forked_engine
import httpx2
import pytest
from tiny_server import make_model

from chatui.backends import servers
from chatui.backends.openai.backend import OpenAIBackend
from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest, Loaded, Prefill, ReplyEvent, Token
from chatui.sampling import SamplingSettings
from chatui.settings import Settings

pytest.importorskip("fastapi", reason="transformers serve needs fastapi")
pytest.importorskip("uvicorn", reason="transformers serve needs uvicorn")

START_SECONDS = 90
GREEDY = SamplingSettings(greedy=True, max_new_tokens=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def port(model: Path, tmp_path_factory: pytest.TempPathFactory, engines: None) -> Iterator[int]:
    """The port of a server in a separate process, shared by all tests of this file."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        number: int = listener.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    command = [*forked_engine.TRANSFORMERS, "serve", str(model)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(number), "--device", "cpu"],
            stdout=output,
            stderr=output,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                httpx2.get(f"http://127.0.0.1:{number}/health", trust_env=False, timeout=1)
                break
            except httpx2.HTTPError:
                time.sleep(0.1)
        yield number
    finally:
        process.terminate()
        process.wait(20)


async def loaded(port: int, format: str | None = None) -> OpenAIBackend:
    backend = OpenAIBackend()
    spec = servers.spec_for(f"127.0.0.1:{port}", format=format)
    events = [event async for event in backend.load(spec)]
    assert isinstance(events[-1], Loaded)
    return backend


async def reply(backend: OpenAIBackend, request: GenerateRequest) -> list[ReplyEvent]:
    return [event async for event in backend.generate(request)]


async def test_it_is_found_on_its_port(port: int, model: Path) -> None:
    rows = await servers.entries(Settings(), ports=((port, "transformers serve"),))
    assert [row.reference for row in rows] == [f"transformers serve:{model}"]


@pytest.mark.parametrize("format", [None, "gpt2-chinese"])
async def test_three_rounds_match_transformers(port: int, model: Path, format: str | None) -> None:
    """Greedy tokens through both APIs against those of transformers in this process."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model)
    backend = await loaded(port, format)
    history: tuple[tuple[str, str], ...] = ()
    for query in ("abc", "def", "ghi"):
        events = await reply(backend, GenerateRequest(query, history, sampling=GREEDY))
        prefill, done = events[0], events[-1]
        assert isinstance(prefill, Prefill) and isinstance(done, Done)
        messages = [
            {"role": role, "content": text}
            for round in (*history, (query, ""))
            for role, text in zip(("user", "assistant"), round, strict=True)
        ][:-1]
        prompt = prefill.prompt
        if format is None:
            prompt = tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = network.generate(ids, do_sample=False, max_new_tokens=10)[0, ids.shape[1] :]
        assert done.text == tokenizer.decode(expected, skip_special_tokens=True).strip()
        assert done.text == "".join(event.text for event in events if isinstance(event, Token))
        assert done.prompt_tokens == ids.shape[1] and done.output_tokens == 10
        assert done.finish_reason == "length"
        history = (*history, (query, done.text))
    await backend.close()


@pytest.mark.parametrize("format", [None, "gpt2-chinese"])
async def test_stop_ends_the_reply_and_the_server_is_free(port: int, format: str | None) -> None:
    backend = await loaded(port, format)
    seen: list[ReplyEvent] = []
    long = GenerateRequest("abc", sampling=SamplingSettings(greedy=True, max_new_tokens=240))
    async for event in backend.generate(long):
        seen.append(event)
        if sum(isinstance(event, Token) for event in seen) == 3:
            await backend.stop()
    done = seen[-1]
    assert isinstance(done, Done) and done.finish_reason == "cancelled"
    assert done.text == "".join(event.text for event in seen if isinstance(event, Token))
    assert 0 < len(done.text) < 200
    after = (await reply(backend, GenerateRequest("abc", sampling=GREEDY)))[-1]
    assert isinstance(after, Done) and after.output_tokens == 10
    await backend.close()


async def test_refused_fields_are_left_out_with_a_note(port: int) -> None:
    backend = await loaded(port)
    sampling = SamplingSettings(top_k=5, min_p=0.1, repetition_penalty=1.2, max_new_tokens=3)
    events = await reply(backend, GenerateRequest("abc", sampling=sampling))
    await backend.close()
    assert isinstance(events[0], Prefill) and "top_k" in events[0].notes[0]
    assert isinstance(events[-1], Done) and events[-1].output_tokens == 3


async def test_a_model_that_it_does_not_serve(port: int) -> None:
    backend = OpenAIBackend()
    with pytest.raises(ChatuiError, match="no model “elsewhere”"):
        async for _ in backend.load(servers.spec_for(f"127.0.0.1:{port}", "elsewhere")):
            pass
    await backend.close()
