"""Fixtures of a server that sends given bytes, and one that runs a tiny model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from faulty_server import FaultyServer
from tiny_server import TinyServer, make_model, serving


@pytest.fixture
async def faulty() -> AsyncIterator[FaultyServer]:
    server = FaultyServer()
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    yield server
    listener.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    with serving(TinyServer(make_model(tmp_path_factory.mktemp("tiny")))) as server:
        yield server


@pytest.fixture
def server(running: TinyServer) -> Iterator[TinyServer]:
    running.record.clear()
    yield running
    running.refused, running.key, running.thoughts, running.advice = set(), "", "", ""
