"""The example backend of docs/backends.md: installed from the page, and used."""

from __future__ import annotations

import re
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from chatui import catalog
from chatui.backends import registry
from chatui.backends.protocol import Backend
from chatui.errors import ChatuiError
from chatui.messages import Done, GenerateRequest, Loaded, ModelSpec, Prefill, Token
from chatui.prompting import formats
from chatui.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backends.md"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def package(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page's package as pip installs it: modules and entry points."""
    parrot, two_voices = blocks("python")
    project, preset = blocks("toml")
    folder = tmp_path / "site"
    info = folder / "chatui_parrot-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "parrot.py").write_text(parrot, encoding="utf-8")
    (folder / "two_voices.py").write_text(two_voices, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chatui-parrot\nVersion: 1.0\n")
    points = tomllib.loads(project)["project"]["entry-points"]
    lines = []
    for group, entries in points.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    words = tmp_path / "lines.txt"
    words.write_text("你好！\n今天天气好。\n", encoding="utf-8")
    (home / "presets").mkdir(parents=True)
    (home / "presets" / "parrot.toml").write_text(
        preset.replace("/home/me/lines.txt", words.as_posix()), encoding="utf-8"
    )
    monkeypatch.syspath_prepend(folder)
    for name in ("parrot", "two_voices"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return words


async def loaded(backend: Backend, spec: ModelSpec) -> Loaded:
    events = [event async for event in backend.load(spec)]
    assert isinstance(events[-1], Loaded)
    return events[-1]


async def test_the_preset_finds_the_backend_and_it_talks(package: Path) -> None:
    spec = catalog.resolve("parrot", Settings())
    assert (spec.backend, spec.format, spec.path) == ("parrot", "two-voices", str(package))
    backend = registry.create(spec.backend)
    assert (await loaded(backend, spec)).format == "two-voices"
    history: tuple[tuple[str, str], ...] = ()
    for query, expected in (("早", "你好！"), ("后来呢", "今天天气好。"), ("再说", "你好！")):
        events = [event async for event in backend.generate(GenerateRequest(query, history))]
        prefill, done = events[0], events[-1]
        assert isinstance(prefill, Prefill) and isinstance(done, Done)
        assert prefill.prompt == formats.get("two-voices").render(history, query, None)
        assert "".join(event.text for event in events if isinstance(event, Token)) == expected
        assert (done.text, done.finish_reason) == (expected, "eos")
        history = (*history, (query, done.text))
    assert prefill.prompt.endswith("A: 后来呢\nB: 今天天气好。\nA: 再说\nB:")
    inspection = await backend.inspect(GenerateRequest("早"))
    assert inspection.context_used == len(inspection.prompt) == len("A: 早\nB:")
    await backend.close()


async def test_it_can_be_stopped_and_drops_what_does_not_fit(package: Path) -> None:
    backend = registry.create("parrot")
    await loaded(backend, ModelSpec("parrot", str(package), "parrot"))
    history = tuple(("长" * 100, "短") for _ in range(20))
    seen = []
    async for event in backend.generate(GenerateRequest("早", history)):
        seen.append(event)
        if isinstance(event, Token):
            await backend.stop()
    assert isinstance(seen[0], Prefill) and 0 < seen[0].dropped_rounds < 20
    done = seen[-1]
    assert isinstance(done, Done) and (done.text, done.finish_reason) == ("你", "cancelled")


async def test_a_failed_load_keeps_what_was_there(package: Path) -> None:
    backend = registry.create("parrot")
    await loaded(backend, ModelSpec("parrot", str(package), "parrot"))
    with pytest.raises(ChatuiError, match="cannot read"):
        await loaded(backend, ModelSpec("parrot", str(package / "missing"), "parrot"))
    assert [event async for event in backend.generate(GenerateRequest("早"))]


def test_the_page_names_every_backend_that_there_is() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = set(entry_points(group=registry.GROUP).names)
    assert {"local", "openai", "llama.cpp"} <= names
    for name in names:
        assert f"`{name}`" in text
