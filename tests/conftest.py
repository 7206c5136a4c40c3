"""Fixtures that all rooms share."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import forked_engine
import pytest

from chatui import locales
from chatui.backends.local import LocalBackend

# Where Triton is installed its kernels run on the CPU; it looks when it is imported.
os.environ["TRITON_INTERPRET"] = "1"

# A shell's background job ignores Ctrl+C, and so would all that the tests start and stop with it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What was imported stays; every unload of a model would look through all of it."""
    gc.freeze()


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of golden data, where it is at hand."""
    folder = Path(
        os.environ.get("CHATUI_REFERENCE")
        or Path(__file__).resolve().parents[1].parent / "shared" / "reference"
    )
    if not folder.is_dir():
        pytest.skip("the golden data is not at hand (set CHATUI_REFERENCE)")
    return folder


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines start at once where `forked_engine` is used."""
    address = tmp_path_factory.mktemp("engines") / "socket"
    with forked_engine.template(address) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def forking(engines: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local backends of this test's process start forked engines."""
    monkeypatch.setattr(LocalBackend, "server", "forked_engine:serve_torch")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for every test, in English, without a hub."""
    folder = tmp_path / "home"
    monkeypatch.setenv("CHATUI_HOME", str(folder))
    monkeypatch.setenv("CHATUI_LANG", "en")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    locales.set_language("en")
    return folder
