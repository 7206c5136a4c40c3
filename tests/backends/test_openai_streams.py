"""Streams of real servers: what must be skipped, other forms of text and errors."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from faulty_server import (
    CHUNK,
    END,
    STREAM,
    FaultyServer,
    ask,
    chunk,
    load,
    raw,
    replied,
    response,
    word,
)

from chatui.backends.openai import client
from chatui.backends.openai.chunk_decoder import ChunkDecoder
from chatui.backends.openai.reply_reader import ReplyReader
from chatui.messages import Token

USAGE = '{"usage": {"prompt_tokens": "7", "completion_tokens": "2.0"}}'


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
    monkeypatch.setattr(client, "USAGE_SECONDS", 0.3)

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
    monkeypatch.setattr(client, "USAGE_SECONDS", 0.1)
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
    assert len(whole) == 2 and list(ReplyReader().read(whole[0])) == [Token("春\u2028风")]
    for cut in range(len(data)):
        decoder = ChunkDecoder()
        assert [*decoder.feed(data[:cut]), *decoder.feed(data[cut:], final=True)] == whole


def test_events_without_a_blank_line_between_them() -> None:
    body = f"data: {USAGE}\ndata: {USAGE}\ndata: [DONE]\n\n"
    decoder = ChunkDecoder()
    assert len(list(decoder.feed(body.encode()))) == 2 and decoder.ended
