"""Engines forked from a template process that has imported torch; starting one takes 0.1 s.

The fixture ``engines`` starts the template. Backends passed to `forking`, and commands that begin
with `CHATUI`, fork their engines from it; only the imports are skipped. A client starts a small
process that passes its standard streams to the fork; if one of the two ends, so does the other.

pytest's worker processes are forked from a second template, which has also imported the tests.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, NoReturn, TypeVar

import pytest

if TYPE_CHECKING:
    from chatui.backends.local import LocalBackend

Forking = TypeVar("Forking", "LocalBackend", "type[LocalBackend]")

CHATUI = (sys.executable, __file__)
"""Replaces ``python -m chatui`` for a process that gets signals or a terminal."""
TRANSFORMERS = (sys.executable, __file__, "transformers")
"""Replaces ``transformers``."""

WORKER = (sys.executable, __file__, "worker")
"""Replaces ``python`` for a process that runs tests."""

_FOLDER = "CHATUI_TEST_TEMPLATES"
_ENGINES = "engines"
_WORKERS = "workers"


@contextmanager
def template(folder: Path, tests: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Run a template that listens on a Unix socket; yield the environment of its clients.

    Args:
        folder: folder of the sockets.
        tests: paths for pytest to collect; starts a second template for its workers.
    """
    if _FOLDER in os.environ:
        # A worker already has the environment.
        yield {}
        return
    found = os.environ.get("PYTHONPATH")
    path = os.pathsep.join([str(Path(__file__).parent), *([found] if found else [])])
    listeners = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    for listener, name in zip(listeners, (_ENGINES, _WORKERS), strict=True):
        listener.bind(str(folder / name))
        # Clients wait while the template imports.
        listener.listen(64)
    files = [listener.fileno() for listener in listeners]
    process = subprocess.Popen(
        [sys.executable, __file__, "template", *map(str, files), *tests],
        stdin=subprocess.PIPE,
        pass_fds=files,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        # Ctrl+C goes to pytest; the template ends with it.
        start_new_session=True,
    )
    for listener in listeners:
        listener.close()
    yield {_FOLDER: str(folder), "PYTHONPATH": path}
    process.communicate()


def forking(backend: Forking) -> Forking:
    """Make a backend, or all of its class, fork its engines from the template."""
    module, _, function = backend.server.partition(":")
    assert module == "chatui.engine.process"
    backend.server = f"forked_engine:{function}"
    return backend


def serve_torch() -> None:
    """Run `chatui.engine.process.serve_torch` in a fork."""
    fork("chatui.engine.process:serve_torch")


def serve_llama_cpp() -> None:
    """Run `chatui.engine.process.serve_llama_cpp` in a fork."""
    fork("chatui.engine.process:serve_llama_cpp")


def fork(function: str, *arguments: str, template: str = _ENGINES) -> None:
    """Run ``function`` in a fork of a template, with this process's streams, until it ends."""
    # Like an engine's process, this one must not receive Ctrl+C.
    os.setpgrp()
    wanted = json.dumps([function, arguments, dict(os.environ), str(Path.cwd())])
    with socket.socket(socket.AF_UNIX) as fork:
        fork.connect(str(Path(os.environ[_FOLDER], template)))
        socket.send_fds(fork, [wanted.encode() + b"\n"], [0, 1, 2])
        for stream in (0, 1, 2):
            os.close(stream)
        _note_of(os.getpid()).write_bytes(fork.recv(20))
        fork.recv(1)


def run_chatui(
    *arguments: str | bytes, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run ``chatui`` in a fork of the template, which has already imported most of it.

    Python itself is not started again, so the encoding of the streams is the template's.
    """
    words = [os.fsdecode(word) for word in arguments]
    environment = {**os.environ, **(env or {})}
    wanted = json.dumps(["forked_engine:main", words, environment, str(Path.cwd())])
    with ExitStack() as stack:
        files = [stack.enter_context(TemporaryFile()) for _ in range(3)]
        files[0].write(stdin)
        files[0].seek(0)
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.settimeout(120)
        client.connect(str(Path(os.environ[_FOLDER], _ENGINES)))
        socket.send_fds(client, [wanted.encode() + b"\n"], [file.fileno() for file in files])
        answer = b""
        while block := client.recv(100):
            answer += block
        for file in files:
            file.seek(0)
        _, code = answer.split()
        return subprocess.CompletedProcess(words, int(code), files[1].read(), files[2].read())


def pid_of_fork(pid: int) -> int:
    """Return the pid of the fork that works for the process ``pid``."""
    return int(_note_of(pid).read_text())


def _note_of(pid: int) -> Path:
    return Path(os.environ[_FOLDER], f"{pid}.fork")


def _be_template(engines: socket.socket, workers: socket.socket, tests: Sequence[str]) -> None:
    """Fork for each client until standard input ends."""
    # These are imported by the first load of a model.
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping
    from transformers.models.gpt2 import modeling_gpt2  # noqa: F401
    from transformers.models.llama import modeling_llama  # noqa: F401

    from chatui.backends import local  # noqa: F401
    from chatui.cli import ask, inspect, parser  # noqa: F401
    from chatui.engine import engine, loading  # noqa: F401

    get_checkpoint_conversion_mapping("gpt2")

    listener = engines
    of_workers = os.fork() if tests else None
    if of_workers == 0:
        listener = workers
        with redirect_stdout(StringIO()):
            pytest.main(["--collect-only", "-p", "no:cacheprovider", *tests])
    gc.freeze()
    signal.signal(signal.SIGCHLD, _take_times)
    while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
        client, _ = listener.accept()
        wanted, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
        if os.fork() == 0:
            listener.close()
            _be_fork(client, wanted, streams)
        client.close()
        for stream in streams:
            os.close(stream)
    if of_workers:
        with suppress(ChildProcessError):
            os.waitpid(of_workers, 0)


def _take_times(*signal: object) -> None:
    """Add the processor time of forks that ended to this process's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _be_fork(client: socket.socket, wanted: bytes, streams: list[int]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    while not wanted.endswith(b"\n"):
        wanted += client.recv(1 << 16)
    function, arguments, environment, folder = json.loads(wanted)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:0] = environment["PYTHONPATH"].split(os.pathsep)
    sys.argv[1:] = arguments

    def end_with_the_client() -> None:
        client.recv(1)
        os._exit(0)

    client.sendall(b"%d " % os.getpid())
    threading.Thread(target=end_with_the_client, daemon=True).start()
    try:
        code = resolve_name(function)() or 0
    except SystemExit as end:
        code = end.code
    sys.stdout.flush()
    client.sendall(b"%d" % code)
    os._exit(code)


def run_statement() -> None:
    """Run the last argument, as ``python -c``."""
    exec(sys.argv[-1], {"__name__": "__main__"})


def main() -> int:
    if sys.argv[1:2] == ["template"]:
        engines, workers = (socket.socket(fileno=int(number)) for number in sys.argv[2:4])
        _be_template(engines, workers, sys.argv[4:])
        return 0
    if sys.argv[1:2] == ["worker"]:
        fork("forked_engine:run_statement", sys.argv[-1], template=_WORKERS)
        return 0
    if sys.argv[1:2] == ["transformers"]:
        fork("transformers.cli.transformers:main", *sys.argv[2:])
        return 0
    from chatui.backends.local import LlamaCppBackend, LocalBackend
    from chatui.cli import main as chatui

    forking(LlamaCppBackend)
    forking(LocalBackend)
    return chatui()


if __name__ == "__main__":
    sys.exit(main())
