"""The app with a scripted backend, driven by Textual's pilot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from driven import Driven, rows_of
from saved_conversations import SPEC
from scripted_backend import ScriptedBackend
from textual._compositor import Compositor
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet

from chatui import locales
from chatui.backends import servers
from chatui.catalog import listing
from chatui.conversation.store import Store
from chatui.messages import ModelSpec
from chatui.settings import Settings
from chatui.tui import app as app_module
from chatui.tui import first_start
from chatui.tui.app import ChatApp


@pytest.fixture(autouse=True, scope="session")
def stylesheets_read_once() -> Iterator[None]:
    """Parse each stylesheet once; Textual parses it for each app and each class of screen."""
    parse = Stylesheet._parse_rules
    parsed: dict[object, list[RuleSet]] = {}

    def parse_once(sheet: Stylesheet, *source: Any, **kind: Any) -> list[RuleSet]:
        key = (*source, *kind.items(), *sheet._variables.items())
        if key not in parsed:
            parsed[key] = parse(sheet, *source, **kind)
        return parsed[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stylesheet, "_parse_rules", parse_once)
        yield


@pytest.fixture(autouse=True)
def no_stray_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore servers on this machine's usual ports, and wait long for a test's own server."""
    monkeypatch.setattr(servers, "USUAL_PORTS", ())
    monkeypatch.setattr(servers, "_LOCAL_SECONDS", 10.0)


@pytest.fixture(autouse=True)
def own_clipboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the system clipboard of this machine unchanged."""
    monkeypatch.setattr(app_module, "clipboard_command", lambda: ())


@pytest.fixture(autouse=True)
def same_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the welcome find the same machine everywhere."""
    inspect_machine = first_start.inspect_machine
    same = {"memory_bytes": 16_000_000_000, "gpus": (), "models": 0}
    monkeypatch.setattr(listing, "CHAT_MODELS", (("qwen3", 0),))
    monkeypatch.setattr(
        first_start, "inspect_machine", lambda settings: replace(inspect_machine(settings), **same)
    )


@pytest.fixture
def drawn() -> None:
    """Draw each frame as for a terminal; for tests of drawing."""


@pytest.fixture(autouse=True)
def only_looks_are_drawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip drawing frames, which takes half the time; a test renders the screen that it reads."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(
            Compositor, "render_update", lambda self, **_: self._dirty_regions.clear()
        )


@pytest.fixture
def drive(home: object) -> Any:
    """``async with drive(...) as app`` runs the app headless."""

    @asynccontextmanager
    async def run(
        replies: Any = ("好",),
        *,
        delay_seconds: float = 0.0,
        size: tuple[int, int] = (80, 24),
        store: Store | None = None,
        backend: ScriptedBackend | None = None,
        settings: Settings | None = None,
        spec: ModelSpec = SPEC,
        notifications: bool = False,
        language: str = "",
        **kwargs: Any,
    ) -> AsyncIterator[Driven]:
        backend = backend or ScriptedBackend(replies, delay_seconds)
        store = store or Store(None)
        if language:
            locales.set_language(language)
        app = ChatApp(settings or Settings(), spec, store, backend, **kwargs)
        async with app.run_test(size=size, notifications=notifications) as pilot:
            driven = Driven(app, pilot, backend, store)
            await pilot.pause()
            yield driven
            if app.is_running:
                # Render the last screen once, so that errors in rendering are found.
                rows_of(app)

    return run
