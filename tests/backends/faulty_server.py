"""A server that sends given bytes, and queries to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest

from chatui.backends import servers
from chatui.backends.openai.backend import OpenAIBackend
from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest, Loaded, Token

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


END = b"0\r\n\r\n"


def raw(text: str) -> bytes:
    """Encode a piece of the body in chunked transfer coding."""
    data = text.encode()
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


CHUNK = '{"choices": [{"delta": {"content": "%s"}, "finish_reason": %s}]}'
