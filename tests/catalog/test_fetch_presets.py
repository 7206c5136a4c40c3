"""Fetching all parts of a preset."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import HubServer
from served_models import NEEDED, model_folder, names_below, pull, serve_model

from chatui.catalog import library, resolve
from chatui.catalog.fetching.fetch import Fetch, FetchProgress
from chatui.catalog.fetching.planning import FetchPlan, plan
from chatui.catalog.resolving import missing_parts
from chatui.errors import ChatuiError
from chatui.settings import Settings


def preset_of_three_parts(server: HubServer, tmp_path: Path) -> str:
    model_folder(tmp_path / "served" / "you" / "base")
    server.add("you/base", tmp_path / "served" / "you" / "base")
    adapter = tmp_path / "served" / "me" / "lora"
    (adapter / "old").mkdir(parents=True)
    (adapter / "checkpoint-100").mkdir()
    for place in (adapter, adapter / "old", adapter / "checkpoint-100"):
        (place / "adapter_config.json").write_text(json.dumps({"r": 8}))
        (place / "adapter_model.bin").write_bytes(str(place).encode() * 900)
    server.add("me/lora", adapter)
    server.add("me/words", model_folder(tmp_path / "served" / "me" / "words"))
    return """
format = "alpaca:article"
family = "llama"
base = { hf = "you/base", modelscope = "them/base" }
adapters = [{ hf = "me/lora", folder = "old" }, { hf = "gone/lora", also = ["me/lora"] }]
tokenizer = { hf = "me/words" }
"""


def test_all_parts_of_a_preset_are_fetched_and_resolved(
    server: HubServer, tmp_path: Path, users_preset: object
) -> None:
    users_preset("three.toml", preset_of_three_parts(server, tmp_path))  # type: ignore[operator]
    with pytest.raises(ChatuiError, match="`chatui pull three` fetches"):
        resolve("three", Settings())
    made = plan("three", Settings())
    assert [repository.hub_id for repository in made.repositories] == [
        "you/base",
        "me/lora",
        "me/words",
    ]
    assert any("me/lora is used instead" in note for note in made.notes)
    seen = [event for event in Fetch(made).events() if isinstance(event, FetchProgress)]
    assert seen[-1].done_bytes == made.total_bytes
    spec = resolve("three", Settings())
    assert names_below(Path(spec.path)) == NEEDED
    assert spec.tokenizer is not None
    assert names_below(Path(spec.tokenizer)) == {
        "config.json",
        "generation_config.json",
        "tokenizer.model",
        "tokenizer_config.json",
    }
    old, new = (Path(adapter.path) for adapter in spec.adapters)
    assert old == new / "old"
    assert names_below(new) == {
        *("adapter_config.json", "adapter_model.bin"),
        *("old/adapter_config.json", "old/adapter_model.bin"),
    }


def test_parts_in_the_users_folders_are_not_fetched(
    server: HubServer, tmp_path: Path, users_preset: object
) -> None:
    users_preset("three.toml", preset_of_three_parts(server, tmp_path))  # type: ignore[operator]
    own = model_folder(tmp_path / "mine" / "base")
    settings = Settings(model_folders=(str(tmp_path / "mine"),))
    made = plan("three", settings)
    assert made.notes[0] == f"you/base is already in {own}."
    assert "you/base" not in [repository.hub_id for repository in made.repositories]
    list(Fetch(made).events())
    assert resolve("three", settings).path == str(own)


def serve_every_part_of_every_preset(server: HubServer, tmp_path: Path) -> None:
    """Serve a few bytes in the layout of each repository in the presets."""
    for preset in library.load().by_name.values():
        adapters = preset.fields.adapters or ()
        for part in preset.parts:
            if not part.hf:
                continue
            folder = tmp_path / "served" / part.hf / part.folder
            prefix = "adapter_" if part in adapters else ""
            whole = [f"{prefix}config.json", f"{prefix}model.safetensors", "tokenizer.model"]
            names = [part.file] if part.file else whole
            for name in names:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(name.encode())
    for folder in (tmp_path / "served").glob("*/*"):
        server.add(f"{folder.parent.name}/{folder.name}", folder)


def test_each_preset_finds_the_files_that_pull_fetched(server: HubServer, tmp_path: Path) -> None:
    serve_every_part_of_every_preset(server, tmp_path)
    different = {preset.parts: preset for preset in library.load().by_name.values()}
    pulled = 0
    for parts, preset in different.items():
        if any(part.hf for part in missing_parts(preset, Settings())):
            pull(preset.name)
            on_no_hub = [part for part in parts if not part.hf and not part.modelscope]
            missing = missing_parts(preset, Settings())
            assert [part for part in missing if part not in on_no_hub] == [], preset.name
            pulled += 1
    assert pulled > 15


def test_the_embedded_model_needs_no_fetch() -> None:
    assert plan("shiyou", Settings()) == FetchPlan("shiyou")


def test_a_part_on_no_hub_is_refused_without_a_request(
    server: HubServer, users_preset: Callable[[str, str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ChatuiError, match=r"decrypt\.py") as refused:
        plan("belle-llama", Settings())
    assert "chatui pull" not in str(refused.value)
    users_preset("lost.toml", 'format = "belle"\nbase = { path = "/nowhere" }\n')
    with pytest.raises(ChatuiError, match=r"needs /nowhere, .* correct its path"):
        plan("lost", Settings())
    serve_model(server, tmp_path)
    text = 'format = "belle"\nbase = { hf = "you/model" }\nadapters = [{ local = "mine" }]\n'
    users_preset("half.toml", text)
    with pytest.raises(ChatuiError) as both:
        resolve("half", Settings())
    assert "half needs you/model, not on this disk yet; `chatui pull half`" in str(both.value)
    assert "half needs mine, which no hub offers" in str(both.value)
    pull("half")
    server.requests.clear()
    with pytest.raises(ChatuiError, match=r"^half needs mine, which no hub offers"):
        plan("half", Settings())
    assert server.requests == []
