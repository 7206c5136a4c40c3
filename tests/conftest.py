"""Fixtures that all rooms share."""

from __future__ import annotations

import gc
import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
    """Collect garbage seldom, and not in what was imported, which stays."""
    gc.freeze()
    gc.set_threshold(2_000, 10, 100)


@pytest.fixture(scope="module")
def frozen() -> None:
    """Whoever unloads models does not look through what earlier tests have left."""
    gc.collect()
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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    """Fork the processes that share the tests; each would import and collect for ten seconds."""
    if config.pluginmanager.has_plugin("_cov"):
        # What a fork did not import itself would count as not run.
        return
    template = ExitStack()
    config.add_cleanup(template.close)
    folder = template.enter_context(TemporaryDirectory())
    os.environ |= template.enter_context(forked_engine.template(Path(folder), config.args))
    for spec in specs:
        spec.python = shlex.join(forked_engine.WORKER)


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Engines start at once where `forked_engine` is used."""
    folder = tmp_path_factory.mktemp("engines")
    with forked_engine.template(folder) as environment, pytest.MonkeyPatch.context() as patch:
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
