"""The local backend and the engine's process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import forked_engine
import pytest
import pytest_asyncio
import tiny_models

from chatui import locations, wire
from chatui.backends import registry
from chatui.backends.local import LocalBackend
from chatui.backends.protocol import Backend
from chatui.errors import BackendLost, ChatuiError
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, Token
from chatui.sampling import SamplingSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.gpt2_chinese(tmp_path_factory.mktemp("models") / "gpt2", context=4096)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(engines: None) -> AsyncIterator[LocalBackend]:
    backend = forked_engine.forking(LocalBackend())
    yield backend
    await backend.close()


def spec(folder: Path) -> ModelSpec:
    # An id that no token has: a reply of random weights must not end by chance before a stop.
    return ModelSpec("tiny", str(folder), format="shiyou", eos_ids=(1 << 30,))


def request(tokens: int | None = 20, **values: object) -> GenerateRequest:
    return GenerateRequest(
        "春眠", sampling=SamplingSettings(max_new_tokens=tokens, seed=1, **values)
    )


async def load(backend: LocalBackend, folder: Path) -> Loaded:
    events = [event async for event in backend.load(spec(folder))]
    assert isinstance(events[-1], Loaded)
    return events[-1]


async def test_it_is_a_backend_and_is_found_by_name() -> None:
    assert isinstance(registry.create("local"), Backend)
    with pytest.raises(ChatuiError, match="local"):
        registry.create("lokal")


async def test_a_reply_after_one_that_was_cancelled_twice(
    backend: LocalBackend, folder: Path
) -> None:
    """The second cancellation arrives while the events of the first reply are still read."""
    await load(backend, folder)

    async def read(count: int | None) -> list[object]:
        return [event async for event in backend.generate(request(count))]

    reading = asyncio.create_task(read(None))
    await asyncio.sleep(0.2)
    for _ in range(3):
        reading.cancel()
        await asyncio.sleep(0)
    done = (await read(5))[-1]
    assert isinstance(done, Done) and done.output_tokens == 5
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_reply(backend: LocalBackend, folder: Path) -> None:
    assert (await load(backend, folder)).family == "gpt2"
    events = [event async for event in backend.generate(request())]
    assert isinstance(events[0], Prefill)
    assert events[0].prompt == "[Round 0]\n问：春眠\n答："
    done = events[-1]
    assert isinstance(done, Done)
    tokens = [event for event in events[1:-1] if isinstance(event, Token)]
    assert "".join(token.text for token in tokens).strip() == done.text
    assert tuple(token.id for token in tokens) == done.output_ids
    again = [event async for event in backend.generate(request())][-1]
    assert isinstance(again, Done)
    assert again.text == done.text


async def test_an_error_after_a_reply_does_not_reach_the_next_request(
    folder: Path, engines: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(LocalBackend):
        server = "failing_engine:serve"

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    backend = Failing()
    await load(backend, folder)
    for _ in range(3):
        events = [event async for event in backend.generate(request())]
        assert isinstance(events[0], Prefill) and isinstance(events[-1], Done)
    assert "the work after the reply failed" in locations.log_file().read_text("utf-8")
    await backend.close()


async def test_a_gpu_that_fails_ends_the_reply_and_the_next_load_is_a_new_process(
    folder: Path, engines: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutGpu(LocalBackend):
        server = "failing_engine:serve_without_gpu"

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    backend = WithoutGpu()
    await load(backend, folder)
    pid, events = backend.pid, []
    with pytest.raises(ChatuiError, match="The GPU failed"):
        async for event in backend.generate(request()):
            events.append(event)
    assert sum(isinstance(event, Token) for event in events) == 6
    # What the app does at the next query: it finds the model gone, and loads it again.
    with pytest.raises(BackendLost):
        async for _ in backend.generate(request()):
            pass
    await load(backend, folder)
    assert backend.pid != pid
    await backend.close()


async def test_stop_takes_effect_at_once(backend: LocalBackend, folder: Path) -> None:
    await load(backend, folder)
    count, asked = 0, 0.0
    async for event in backend.generate(request(None)):
        if isinstance(event, Token):
            count += 1
            if count == 5:
                await backend.stop()
                asked = time.monotonic()
        if isinstance(event, Done):
            assert event.finish_reason == "cancelled"
            assert event.output_tokens < 1000
    assert time.monotonic() - asked < 1
    # The Stop was for that reply and not for the next.
    last = [event async for event in backend.generate(request())][-1]
    assert isinstance(last, Done)
    assert last.finish_reason != "cancelled"


async def test_a_late_stop_does_not_touch_the_next_reply(
    backend: LocalBackend, folder: Path
) -> None:
    await load(backend, folder)
    await backend.stop()
    last = [event async for event in backend.generate(request())][-1]
    assert isinstance(last, Done)
    assert last.finish_reason != "cancelled"


async def test_closing_the_generator_frees_the_engine(backend: LocalBackend, folder: Path) -> None:
    await load(backend, folder)
    replies = backend.generate(request(None))
    async for event in replies:
        if isinstance(event, Token):
            break
    await replies.aclose()  # type: ignore[attr-defined]
    last = [event async for event in backend.generate(request())][-1]
    assert isinstance(last, Done)


async def test_a_killed_process_is_an_error_and_can_start_again(
    backend: LocalBackend, folder: Path
) -> None:
    await load(backend, folder)
    killed = False
    with pytest.raises(ChatuiError, match="killed"):
        async for event in backend.generate(request(None)):
            if isinstance(event, Token) and not killed and backend.pid is not None:
                os.kill(backend.pid, signal.SIGKILL)
                killed = True
    with pytest.raises(ChatuiError, match="No model"):
        async for _ in backend.generate(request()):
            pass
    await load(backend, folder)
    last = [event async for event in backend.generate(request())][-1]
    assert isinstance(last, Done)


async def test_a_process_killed_while_idle_is_replaced(backend: LocalBackend, folder: Path) -> None:
    await load(backend, folder)
    assert backend.pid is not None
    os.kill(forked_engine.pid_of_fork(backend.pid), signal.SIGKILL)
    await load(backend, folder)


async def test_close_ends_the_process(folder: Path) -> None:
    backend = LocalBackend()
    await backend.start()
    pid = backend.pid
    assert pid is not None
    await backend.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_failed_load_keeps_the_model(
    backend: LocalBackend, folder: Path, tmp_path: Path
) -> None:
    await load(backend, folder)
    with pytest.raises(ChatuiError, match="no model"):
        await load(backend, tmp_path / "nothing")
    last = [event async for event in backend.generate(request())][-1]
    assert isinstance(last, Done)


async def test_a_megabyte_of_query_is_one_sentence(backend: LocalBackend, folder: Path) -> None:
    await load(backend, folder)
    with pytest.raises(ChatuiError, match="tokens"):
        async for _ in backend.generate(GenerateRequest("春眠不觉晓" * 70_000)):
            pass


async def test_inspect(backend: LocalBackend, folder: Path) -> None:
    await load(backend, folder)
    seen = await backend.inspect(GenerateRequest("春\ud800眠"), 3)
    assert seen.tokens[-2:] == ("答", "：")
    assert seen.position_ids == (tuple(range(len(seen.input_ids))),)
    assert len(seen.next) == 3
    assert seen.next[0].probability >= seen.next[1].probability


async def test_a_module_in_the_users_folder_is_not_imported(
    tmp_path: Path, folder: Path, engines: None
) -> None:
    # What is forked from imports tempfile, and tempfile imports random, as torch does.
    (tmp_path / "random.py").write_text("raise SystemExit('trapped')")
    script = (
        "import asyncio, sys\n"
        f"sys.path.append({str(Path(__file__).parents[2])!r})\n"
        "sys.path.pop(0)\n"
        "from chatui.backends.local import LocalBackend\n"
        "LocalBackend.server = 'forked_engine:serve_torch'\n"
        "from chatui.messages import ModelSpec\n"
        "async def main():\n"
        "    backend = LocalBackend()\n"
        f"    async for event in backend.load(ModelSpec('t', {str(folder)!r}, format='shiyou')):\n"
        "        print(type(event).__name__)\n"
        "    await backend.close()\n"
        "asyncio.run(main())\n"
    )
    run = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.split()[-1] == "Loaded", run.stderr


def _engine(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )


async def test_closing_its_input_ends_the_engine_during_a_reply(
    folder: Path, engines: None
) -> None:
    process = _engine("-c", "import forked_engine; forked_engine.serve_torch()")
    assert process.stdin and process.stdout
    process.stdin.write(wire.encode(wire.Load(spec(folder))))
    process.stdin.write(wire.encode(wire.Generate(request(None))))
    process.stdin.flush()
    kinds = []
    while "Token" not in kinds:
        kinds.append(type(wire.decode(process.stdout.readline())).__name__)
    process.stdin.close()
    process.stdout.close()
    process.wait(timeout=60)


async def test_invalid_lines_are_skipped(folder: Path) -> None:
    process = _engine("-c", "from chatui.engine.process import serve_torch; serve_torch()")
    output, _ = process.communicate(b"hello\n{}\n" + wire.encode(wire.Quit()), timeout=60)
    assert output == b""
    assert process.returncode == 0


async def test_the_loop_is_never_blocked(backend: LocalBackend, folder: Path) -> None:
    longest, last = 0.0, time.monotonic()

    async def beat() -> None:
        nonlocal longest, last
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            longest, last = max(longest, now - last), now

    heart = asyncio.create_task(beat())
    await load(backend, folder)
    async for _ in backend.generate(request(100)):
        pass
    heart.cancel()
    assert longest < 0.5
