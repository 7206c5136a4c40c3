"""Servers' errors and notes as sentences, and prompts that are too long."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_server import CHUNK, END, STREAM, FaultyServer, ask, load, raw, response, word

from chatui.backends import servers
from chatui.backends.openai.backend import OpenAIBackend
from chatui.backends.openai.chunk_decoder import exceeds_context
from chatui.messages import Done, GenerateRequest, Prefill

REASON = "CUDA out of memory"


ERRORS = [
    {"error": {"message": REASON, "code": 500}},
    {"error": REASON},
    {"error": {"message": {"detail": REASON}}},
    {"object": "error", "message": REASON, "code": 50001},
    {"error": True, "message": REASON},
    {"errors": [{"message": REASON}]},
    {"choices": None, "base_resp": {"status_code": 1013, "status_msg": REASON}},
    {"detail": REASON},
    {"type": "error", "error": {"message": REASON}},
    {"choices": [{"delta": {}, "error": {"message": REASON}, "finish_reason": "error"}]},
    [{"error": {"message": REASON}}],
]


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize(
    "event",
    [
        *(f"data: {json.dumps(error)}\n\n" for error in ERRORS),
        f'error: {{"code": 500, "message": "{REASON}"}}\n\n',
        f"event: Error\ndata: {REASON}\n\n",
        f'event: error\ndata: {{"message": "{REASON}"}}\n\n',
    ],
)
async def test_errors_in_the_stream_are_reported(
    faulty: FaultyServer, event: str, begun: bool
) -> None:
    first = (word("春"),) if begun else ()
    faulty.answer = faulty.say(STREAM, *first, raw(event), END)
    text, sentence = await ask(faulty.url)
    assert text == ("春" if begun else "") and REASON in sentence


@pytest.mark.parametrize("finish", ["network_error", "insufficient_system_resource"])
async def test_a_finish_reason_of_failure_keeps_the_text(faulty: FaultyServer, finish: str) -> None:
    faulty.answer = faulty.say(STREAM, word("春"), word("风", finish), END)
    text, sentence = await ask(faulty.url)
    assert text == "春风" and "error" in sentence and finish in sentence


@pytest.mark.parametrize("error", ERRORS[:9])
async def test_errors_with_status_200_are_reported(faulty: FaultyServer, error: Any) -> None:
    faulty.answer = faulty.say(response(200, json.dumps(error).encode()))
    assert REASON in (await ask(faulty.url))[1]


@pytest.mark.parametrize("status", [200, 400, 413, 500, 503])
@pytest.mark.parametrize(
    "reason",
    ["输入长度超过了模型的最大上下文长度", "the request exceeds the available context size"],
)
async def test_a_prompt_that_is_too_long_is_sent_again_with_fewer_rounds(
    faulty: FaultyServer, status: int, reason: str
) -> None:
    answers: Iterator[bytes] = iter(
        (
            response(status, json.dumps({"error": {"message": reason}}).encode()),
            response(200, (f"data: {CHUNK}\n\n" % ("好", '"stop"')).encode(), "text/event-stream"),
        )
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))
        await writer.drain()

    faulty.answer = answer
    backend = await load(faulty.url)
    history = tuple((f"问{n}", f"答{n}") for n in range(6))
    events = [e async for e in backend.generate(GenerateRequest("再说", history=history))]
    await backend.close()
    prefill, done = events[0], events[-1]
    assert isinstance(prefill, Prefill) and prefill.dropped_rounds == 2
    assert isinstance(done, Done) and done.text == "好"


def test_only_messages_about_the_context_mean_too_long() -> None:
    for other in (
        "Rate limit exceeded: too many tokens per minute",
        "temperature must be at most 2",
        "CUDA out of memory",
        "max_tokens is too large: 8192. This model supports at most 4096 completion tokens",
        "stop sequences too long",
        "参数 max_tokens 超过最大值 4096",
        "请求频率超过限制",
    ):
        assert not exceeds_context(400, other), other
    for length in (
        "提示词过长，请缩短后重试",
        "Requested tokens (5000) exceed context window of 4096",
        "Range of input length should be [1, 30720]",
        "`inputs` must have less than 1024 tokens. Given: 5000",
        "Please reduce the length of the messages or completion.",
        "Prompt 超长",
        "最大上下文为4096，当前5000",
        "总token数超过4096",
    ):
        assert exceeds_context(500, length), length
    assert not exceeds_context(429, "too many tokens") and exceeds_context(413, "请求体太大")


async def test_a_plain_text_error_is_quoted(faulty: FaultyServer) -> None:
    faulty.answer = faulty.say(response(200, REASON.encode(), "text/plain"))
    assert REASON in (await ask(faulty.url))[1]


async def test_retry_after_is_reported(faulty: FaultyServer) -> None:
    answer = response(429, b"{}").replace(b"\r\n\r\n", b"\r\nRetry-After: 20\r\n\r\n")
    faulty.answer = faulty.say(answer)
    assert "20 seconds" in (await ask(faulty.url))[1]


async def test_a_redirect_is_reported(faulty: FaultyServer) -> None:
    place = b"\r\nLocation: /new/v1/chat/completions\r\nConnection: close\r\n\r\n"
    faulty.answer = faulty.say(response(301, b"").replace(b"\r\n\r\n", place))
    assert f"{faulty.url.removesuffix('/v1')}/new/v1;" in (await ask(faulty.url))[1]


async def test_a_certificate_in_ssl_cert_file_is_trusted(
    faulty: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with await asyncio.start_server(faulty.serve, "127.0.0.1", 0, ssl=context) as listener:
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
        backend = OpenAIBackend()
        with pytest.raises(Exception, match="SSL_CERT_FILE"):
            async for _ in backend.load(servers.spec_for(url, "m")):
                pass
        file = tmp_path / "authority.pem"
        authority.cert_pem.write_to_path(file)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert [model.id for model in await servers.models_of(url)] == ["m"]
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
        with pytest.raises(Exception, match="cannot be read"):
            await servers.models_of(url)


async def test_an_unknown_context_length_is_noted_once_for_a_long_prompt(
    faulty: FaultyServer,
) -> None:
    faulty.models = response(200, b'{"data": [{"id": "m"}]}')
    faulty.answer = faulty.say(STREAM, word("好", "stop"), END)
    backend = OpenAIBackend()
    loaded = [event async for event in backend.load(servers.spec_for(faulty.url, "m"))]
    assert loaded[-1].notes == ()  # type: ignore[union-attr]
    told = []
    for query in ("你好", "长" * 4000, "长" * 4000):
        events = [event async for event in backend.generate(GenerateRequest(query))]
        assert isinstance(events[0], Prefill)
        told.append(len(events[0].notes))
    await backend.close()
    assert told == [0, 1, 0]
