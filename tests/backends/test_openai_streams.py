"""Streams of real servers: what must be skipped, other forms of text and errors."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_openai_faults import (
    STREAM,
    FaultyServer,
    ask,
    chunk,
    faulty,
    load,
    replied,
    response,
    word,
)

from chatui.backends import servers
from chatui.backends.openai import streamed_reply
from chatui.backends.openai.backend import OpenAIBackend
from chatui.backends.openai.chunk_decoder import ChunkDecoder
from chatui.backends.openai.deltas import ReplyReader
from chatui.backends.openai.server_errors import exceeds_context
from chatui.messages import Done, GenerateRequest, Prefill, Token

__all__ = ["faulty"]

USAGE = '{"usage": {"prompt_tokens": "7", "completion_tokens": "2.0"}}'
CHUNK = '{"choices": [{"delta": {"content": "%s"}, "finish_reason": %s}]}'
END = b"0\r\n\r\n"


def raw(text: str) -> bytes:
    """Encode a piece of the body in chunked transfer coding."""
    data = text.encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.mark.parametrize(
    "noise",
    [
        USAGE,
        '{"choices": [], "usage": null}',
        '{"choices": null}',
        '{"id": "x", "object": "chat.completion.chunk"}',
        '{"status": "queued", "message": "waiting"}',
        '{"error": {"code": 0, "message": ""}, "choices": [{"delta": {}}]}',
        "null",
        "processing…",
        "",
    ],
)
async def test_chunks_without_text_are_skipped(faulty: FaultyServer, noise: str) -> None:
    faulty.answer = faulty.say(
        STREAM, chunk(noise), word("春"), chunk(noise), word("风", "stop"), chunk(noise), END
    )
    assert (await replied(await load(faulty.url))).text == "春风"


@pytest.mark.parametrize(
    "noise",
    [
        ": keep-alive\n\n",
        "event: ping\ndata: {}\n\n",
        "event: ping\ndata: now\n\n",
        "event: ping\n\n",
        'event: queue\ndata: {"message": "2 before you"}\n\n',
        "id: 3\nretry: 100\n\n",
        "data:\n\n",
        "data\n\n",
        "\r\n\r\n",
    ],
)
async def test_other_events_are_skipped(faulty: FaultyServer, noise: str) -> None:
    faulty.answer = faulty.say(
        STREAM, raw("\ufeff" + noise), word("春"), raw(noise), word("风", "stop"), raw(noise), END
    )
    assert (await replied(await load(faulty.url))).text == "春风"


@pytest.mark.parametrize("end", ["[DONE]", '"[DONE]"', "[DONE]\n\ndata: {junk"])
async def test_done_ends_a_reply_without_a_finish_reason(faulty: FaultyServer, end: str) -> None:
    faulty.answer = faulty.say(STREAM, word("好"), chunk(end), then="wait")
    done = await asyncio.wait_for(replied(await load(faulty.url)), 5)
    assert (done.text, done.finish_reason) == ("好", "eos")


async def test_a_finish_reason_ends_the_reply_on_an_open_connection(
    faulty: FaultyServer,
) -> None:
    faulty.answer = faulty.say(STREAM, word("好", "length"), chunk(USAGE), then="wait")
    started = time.monotonic()
    done = await replied(await load(faulty.url))
    assert time.monotonic() - started < 5
    assert (done.finish_reason, done.prompt_tokens, done.output_tokens) == ("length", 7, 2)


async def test_keep_alives_do_not_prolong_a_finished_reply(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_reply, "USAGE_SECONDS", 0.3)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + word("好", "stop"))
        while not writer.is_closing():
            writer.write(raw(": ping\n\n"))
            await asyncio.sleep(0.1)

    faulty.answer = answer
    done = await asyncio.wait_for(replied(await load(faulty.url)), 5)
    assert (done.text, done.finish_reason) == ("好", "eos")


@pytest.mark.parametrize("whole", [True, False])
async def test_counts_in_every_chunk_do_not_end_the_reply(
    faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(streamed_reply, "USAGE_SECONDS", 0.1)
    usage = {"prompt_tokens": 7, "completion_tokens": 1}
    part = chunk(json.dumps({"choices": [{"delta": {"content": "春"}}], "usage": usage}))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM + part)
        await asyncio.sleep(0.4)
        writer.write(word("风", "stop") + END if whole else part)

    faulty.answer = answer
    if whole:
        assert (await replied(await load(faulty.url))).text == "春风"
    else:
        text, sentence = await ask(faulty.url)
        assert text == "春春" and "in the middle" in sentence


@pytest.mark.parametrize("kind", ["text/plain", "Text/Event-Stream; charset=UTF-8", "", "x/y"])
async def test_the_content_type_does_not_matter(faulty: FaultyServer, kind: str) -> None:
    head = STREAM.replace(b"text/event-stream", kind.encode())
    faulty.answer = faulty.say(head, word("春"), word("风", "stop"), END)
    assert (await replied(await load(faulty.url))).text == "春风"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
async def test_a_server_that_does_not_stream(
    faulty: FaultyServer, kind: str, indent: int | None
) -> None:
    message = {"role": "assistant", "content": "春风"}
    whole = {
        "choices": [{"message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    body = json.dumps(whole, indent=indent, ensure_ascii=False).encode()
    faulty.answer = faulty.say(response(200, body, kind))
    done = await replied(await load(faulty.url))
    assert (done.text, done.prompt_tokens) == ("春风", 3)


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


@pytest.mark.parametrize(
    ("choice", "text", "reason"),
    [
        ({"delta": {"content": [{"type": "text", "text": "春"}, {"text": "风"}]}}, "春风", "eos"),
        ({"delta": {"content": None, "refusal": "不行"}}, "不行", "eos"),
        ({"message": {"content": "春风"}}, "春风", "eos"),
        ({"text": "春风"}, "春风", "eos"),
        ({"delta": {"content": "春风"}, "finish_reason": "content_filter"}, "春风", "filter"),
        ({"delta": {"content": "春"}, "finish_reason": "sensitive"}, "春", "filter"),
        ({"delta": {"content": "春"}, "finish_reason": {"type": "length"}}, "春", "length"),
        ({"delta": {"content": 7}}, "", "eos"),
        (
            {"delta": {"content": [{"thinking": [{"text": "想"}]}, {"text": "好"}]}},
            "<think>想</think>好",
            "eos",
        ),
        ({"delta": "春风"}, "春风", "eos"),
        (
            {"delta": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}},
            '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>',
            "eos",
        ),
        ({"delta": {"reasoning_content": "想", "content": "好"}}, "<think>想</think>好", "eos"),
    ],
)
async def test_text_in_every_form(
    faulty: FaultyServer, choice: dict[str, Any], text: str, reason: str
) -> None:
    full = json.dumps({"choices": [{"finish_reason": "stop", **choice}]})
    faulty.answer = faulty.say(STREAM, chunk(full), END)
    done = await replied(await load(faulty.url))
    assert (done.text, done.finish_reason) == (text, reason)


def test_a_finish_reason_of_null_is_ignored() -> None:
    """DashScope's API sends it before the end of a reply."""
    reader = ReplyReader()
    (token,) = reader.read({"choices": [{"delta": {"content": "春"}, "finish_reason": "null"}]})
    assert (token.text, reader.finish) == ("春", "")


async def test_a_repeated_whole_reply_is_ignored(faulty: FaultyServer) -> None:
    """MiniMax repeats it as a message in the last chunk."""
    last = {"choices": [{"message": {"content": "春风"}, "finish_reason": "stop"}]}
    faulty.answer = faulty.say(STREAM, word("春"), word("风"), chunk(json.dumps(last)), END)
    assert (await replied(await load(faulty.url))).text == "春风"


@pytest.mark.parametrize("status", [200, 503])
async def test_other_encodings_are_decoded_by_the_content_type(
    faulty: FaultyServer, status: int
) -> None:
    body = (
        {"choices": [{"message": {"content": "春风"}}]} if status == 200 else {"error": "模型正忙"}
    )
    data = json.dumps(body, ensure_ascii=False).encode("gbk")
    faulty.answer = faulty.say(response(status, data, "application/json; charset=GBK"))
    if status == 200:
        assert (await replied(await load(faulty.url))).text == "春风"
    else:
        assert "message: 模型正忙" in (await ask(faulty.url))[1]


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


async def test_halves_of_a_surrogate_pair_are_joined(faulty: FaultyServer) -> None:
    faulty.answer = faulty.say(
        STREAM,
        chunk(CHUNK % ("\\ud83d", "null")),
        chunk(CHUNK % ("\\ude00", "null")),
        word("。", "stop"),
        END,
    )
    assert (await replied(await load(faulty.url))).text == "😀。"


def test_any_split_of_the_bytes_gives_the_same_chunks() -> None:
    body = f"\ufeffdata: {CHUNK}\r\n\r\n: x\rdata: {USAGE}\r\rdata: [DONE]\n" % (
        "春\u2028风",
        "null",
    )
    data = body.encode()
    whole = list(ChunkDecoder().feed(data, final=True))
    assert len(whole) == 2 and ReplyReader().read(whole[0]) == [Token("春\u2028风")]
    for cut in range(len(data)):
        decoder = ChunkDecoder()
        assert [*decoder.feed(data[:cut]), *decoder.feed(data[cut:], final=True)] == whole


def test_events_without_a_blank_line_between_them() -> None:
    body = f"data: {USAGE}\ndata: {USAGE}\ndata: [DONE]\n\n"
    decoder = ChunkDecoder()
    assert len(list(decoder.feed(body.encode()))) == 2 and decoder.ended


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
