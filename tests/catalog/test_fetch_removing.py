"""Removing fetched models from the disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hub_server import HubServer
from served_models import NEEDED, model_folder, serve_file, serve_model

from chatui import locales
from chatui.catalog import resolve
from chatui.catalog.fetching.fetch import Fetch, FetchProgress
from chatui.catalog.fetching.planning import plan
from chatui.catalog.fetching.removing import plan_removal, remove
from chatui.catalog.fetching.transfer import FetchCancelled
from chatui.errors import ChatuiError
from chatui.settings import Settings

ON_BASE = """
format = "alpaca:article"
base = { hf = "you/base" }
adapters = [{ hf = "me/ADAPTER" }]
"""


def pull(name: str) -> None:
    list(Fetch(plan(name, Settings())).events())


def size_of(folder: Path) -> int:
    files = (file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    return sum(file.stat().st_size for file in files)


def two_presets_on_one_base(server: HubServer, tmp_path: Path, users_preset: object) -> None:
    server.add("you/base", model_folder(tmp_path / "served" / "you" / "base"))
    for name in ("first", "second"):
        serve_file(server, tmp_path, 50_000, f"me/{name}")
        users_preset(f"{name}.toml", ON_BASE.replace("ADAPTER", name))  # type: ignore[operator]


def test_the_planned_bytes_are_freed(server: HubServer, tmp_path: Path) -> None:
    repository = serve_model(server, tmp_path)
    pull("you/model")
    before = size_of(tmp_path / "hub")
    removal = plan_removal("you/model", Settings())
    (item,) = removal.items
    assert item.title == "you/model"
    assert item.size_bytes >= sum(repository.files[path].size for path in NEEDED)
    assert size_of(tmp_path / "hub") == before, "planning must touch nothing"
    assert remove(removal) == before - size_of(tmp_path / "hub")
    assert not item.root.exists()
    with pytest.raises(ChatuiError, match="pull you/model"):
        resolve("you/model", Settings())
    with pytest.raises(ChatuiError, match=r"caches contain no files of you/model\."):
        plan_removal("you/model", Settings())


def test_the_rest_of_an_interrupted_pull_can_be_removed(server: HubServer, tmp_path: Path) -> None:
    serve_file(server, tmp_path, 2_000_000)
    server.faults.bytes_per_second = 2_000_000
    running = Fetch(plan("you/one", Settings()))
    with pytest.raises(FetchCancelled):
        for event in running.events():
            if isinstance(event, FetchProgress) and event.done_bytes > 100_000:
                running.cancel()
    removal = plan_removal("you/one", Settings())
    assert removal.size_bytes > 100_000
    remove(removal)
    assert size_of(tmp_path / "hub") == 0


def test_parts_of_other_presets_are_kept(
    server: HubServer, tmp_path: Path, users_preset: object
) -> None:
    two_presets_on_one_base(server, tmp_path, users_preset)
    pull("first")
    pull("second")
    removal = plan_removal("first", Settings())
    assert [item.title for item in removal.items] == ["me/first"]
    assert removal.notes == ("you/base stays; second also uses it.",)
    remove(removal)
    assert resolve("second", Settings())
    assert [i.title for i in plan_removal("second", Settings()).items] == ["you/base", "me/second"]


def test_a_repository_is_removed_although_presets_need_it(
    server: HubServer, tmp_path: Path, users_preset: object
) -> None:
    two_presets_on_one_base(server, tmp_path, users_preset)
    pull("first")
    removal = plan_removal("you/base", Settings())
    assert [item.title for item in removal.items] == ["you/base"]
    assert removal.notes == ("first will not run without it.",)


def test_one_file_of_a_repository_is_removed(
    server: HubServer, tmp_path: Path, users_preset: object
) -> None:
    folder = tmp_path / "served" / "you" / "raven"
    folder.mkdir(parents=True)
    for name in ("3b.pth", "7b.pth"):
        (folder / name).write_bytes(os.urandom(40_000))
        text = f'format = "chatrwkv"\nbase = {{ hf = "you/raven", file = "{name}" }}\n'
        users_preset(f"raven-{name[:2]}.toml", text)  # type: ignore[operator]
    server.add("you/raven", folder)
    pull("raven-3b")
    pull("raven-7b")
    with pytest.raises(ChatuiError, match="no files of you/raven/3b"):
        plan_removal("you/raven/3b", Settings())
    removal = plan_removal("raven-3b", Settings())
    assert [(item.title, item.size_bytes) for item in removal.items] == [
        ("you/raven/3b.pth", 40_000)
    ]
    assert remove(removal) == 40_000
    assert resolve("raven-7b", Settings()).path.endswith("7b.pth")
    with pytest.raises(ChatuiError):
        resolve("raven-3b", Settings())
    remove(plan_removal("raven-7b", Settings()))
    assert size_of(tmp_path / "hub") == 0


def test_all_shards_of_a_file_are_removed(server: HubServer, tmp_path: Path) -> None:
    folder = tmp_path / "served" / "you" / "split"
    folder.mkdir(parents=True)
    for name in ("a-00001-of-00002.gguf", "a-00002-of-00002.gguf", "b.gguf"):
        (folder / name).write_bytes(os.urandom(20_000))
    server.add("you/split", folder)
    pull("you/split/a-00001-of-00002.gguf")
    pull("you/split/b.gguf")
    assert remove(plan_removal("you/split/a-00001-of-00002.gguf", Settings())) == 40_000
    digits_in_refs = 40
    assert size_of(tmp_path / "hub") == 20_000 + digits_in_refs


def test_files_outside_the_caches_are_kept(server: HubServer, tmp_path: Path) -> None:
    own = model_folder(tmp_path / "mine" / "you" / "model")
    settings = Settings(model_folders=(str(tmp_path / "mine"),))
    with pytest.raises(ChatuiError, match=f"you/model stays: {own} is a copy"):
        plan_removal("you/model", settings)
    with pytest.raises(ChatuiError, match="caches contain no files of shiyou"):
        plan_removal("shiyou", settings)
    locales.set_language("zh")
    with pytest.raises(ChatuiError, match="的任何文件。shiyou 保留："):
        plan_removal("shiyou", settings)
    for name in ("nothing", "../..", "", "a/../b"):
        with pytest.raises(ChatuiError):
            plan_removal(name, settings)
