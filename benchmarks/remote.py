"""Overhead per token of the OpenAI-compatible backend against the bare ``openai`` client.

    python benchmarks/remote.py [--tokens N] [--rounds N]

A server in a process of its own sends tokens as fast as the client reads them, so only the client's
work is measured. Both clients take turns with the same server and tokens. The overhead is the
median difference of CPU time and wall time per token.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import time
from multiprocessing.connection import Connection
from typing import Any

from chatui.backends import servers
from chatui.backends.openai.backend import OpenAIBackend
from chatui.messages import Done, GenerateRequest, Token
from chatui.sampling import SamplingSettings

MODELS = json.dumps({"object": "list", "data": [{"id": "m", "max_model_len": 1 << 20}]}).encode()
MESSAGES = [{"role": "user", "content": "你好"}]


def serve(ready: Connection) -> None:
    """Serve a minimal part of the protocol, with one chunk and one write per token."""
    asyncio.run(_serve(ready))


async def _serve(ready: Connection) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].split("\r\n")[0] or 0)
                body = json.loads(await reader.readexactly(length) or b"{}")
                if head.startswith("get /v1/models"):
                    writer.write(_whole(200, MODELS))
                elif head.startswith("post /v1/chat/completions"):
                    await _stream(writer, body["max_tokens"])
                else:
                    writer.write(_whole(404, b"{}"))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    ready.send(listener.sockets[0].getsockname()[1])
    await listener.serve_forever()


def _whole(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def _stream(writer: asyncio.StreamWriter, tokens: int) -> None:
    kind = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked"
    writer.write(f"HTTP/1.1 200 OK\r\n{kind}\r\n\r\n".encode())
    for number in range(tokens):
        finish = "stop" if number == tokens - 1 else None
        choice = {"index": 0, "delta": {"content": "字"}, "finish_reason": finish}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m"}
        event = f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n".encode()
        writer.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        await writer.drain()
        # Send each token separately, as a real server does.
        await asyncio.sleep(0)
    end = b"data: [DONE]\n\n"
    writer.write(f"{len(end):x}\r\n".encode() + end + b"\r\n0\r\n\r\n")


async def bare(client: Any, tokens: int) -> int:
    """Read a reply with the openai client; return its length."""
    text = ""
    stream = await client.chat.completions.create(
        model="m", messages=MESSAGES, max_tokens=tokens, stream=True
    )
    async for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    return len(text)


async def ours(backend: OpenAIBackend, tokens: int) -> int:
    """Read a reply with the backend; return its length."""
    text = ""
    request = GenerateRequest("你好", sampling=SamplingSettings(max_new_tokens=tokens))
    async for event in backend.generate(request):
        if isinstance(event, Token):
            text += event.text
        elif isinstance(event, Done):
            return len(text)
    return 0


async def measure(port: int, tokens: int, rounds: int) -> None:
    import openai

    client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
    backend = OpenAIBackend()
    async for _ in backend.load(servers.spec_for(f"127.0.0.1:{port}", "m")):
        pass
    costs: list[tuple[float, float, float, float]] = []
    for number in range(rounds + 1):
        cost: tuple[float, ...] = ()
        for run in (lambda: bare(client, tokens), lambda: ours(backend, tokens)):
            wall, cpu = time.perf_counter(), time.process_time()
            assert await run() == tokens
            cost += (time.perf_counter() - wall, time.process_time() - cpu)
        if number:
            costs.append((cost[0], cost[1], cost[2], cost[3]))
    await backend.close()
    await client.close()

    def median_ms(values: list[float]) -> float:
        return statistics.median(values) / tokens * 1000

    print(f"{tokens} tokens per reply, median of {rounds} pairs, ms per token (wall / CPU)")
    print(
        f"bare openai client  {median_ms([c[0] for c in costs]):6.3f} / "
        f"{median_ms([c[1] for c in costs]):6.3f}"
    )
    print(
        f"chatui's backend    {median_ms([c[2] for c in costs]):6.3f} / "
        f"{median_ms([c[3] for c in costs]):6.3f}"
    )
    print(
        f"overhead            {median_ms([c[2] - c[0] for c in costs]):6.3f} / "
        f"{median_ms([c[3] - c[1] for c in costs]):6.3f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    server = context.Process(target=serve, args=(there,), daemon=True)
    server.start()
    try:
        asyncio.run(measure(here.recv(), options.tokens, options.rounds))
    finally:
        server.terminate()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
