"""Listing models, and the missing parts of unusable ones."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from model_files import LLAMA, gguf, write_model

from chatui import catalog
from chatui.catalog import ModelEntry
from chatui.catalog.adapters import list_adapters
from chatui.errors import ChatuiError
from chatui.settings import Settings

Hub = Callable[[str], Path]


def _by_reference(settings: Settings | None = None) -> dict[str, ModelEntry]:
    found = catalog.list_models(settings or Settings())
    assert len({entry.reference for entry in found}) == len(found)
    return {entry.reference: entry for entry in found}


def test_presets_list_their_missing_parts(hub: Hub) -> None:
    found = _by_reference()
    assert found["belle"].missing.endswith("`chatui pull belle` fetches what is missing.")
    assert not found["belle"].usable
    assert found["belle"].lacking == ("BelleGroup/BELLE-7B-2M",)
    assert found["camelbell"].lacking == found["moss-int8"].lacking == ()
    assert found["belle"].memory_bytes == 14_100_000_000
    assert not found["chatglm3-6b"].usable
    assert "belle-2m" not in found
    assert found["chinese-alpaca-13b"].kind == "preset"


def test_a_fetched_preset_is_usable(hub: Hub) -> None:
    config = {"model_type": "bloom", "architectures": ["BloomForCausalLM"]}
    folder = write_model(hub("BelleGroup/BELLE-7B-2M"), config)
    found = _by_reference()
    assert found["belle"].usable
    cached = found["BelleGroup/BELLE-7B-2M"]
    assert (cached.kind, cached.family, cached.format) == ("hub", "bloom", "belle")
    assert cached.usable
    assert cached.disk_bytes == 64
    (folder / "model.safetensors").unlink()
    assert not _by_reference()["belle"].usable


def test_models_in_caches_and_folders_are_listed(hub: Hub, tmp_path: Path) -> None:
    write_model(hub("who/good"), LLAMA)
    write_model(hub("who/odd"), {"model_type": "baichuan"})
    write_model(hub("who/encoder"), {"model_type": "bert", "architectures": ["BertModel"]})
    lora = hub("who/lora") / "adapter_config.json"
    lora.write_text(json.dumps({"base_model_name_or_path": "who/good"}))
    (hub("who/dataset") / "README.md").write_text("no model")
    (hub("who/tiny-GGUF") / "tiny.gguf").write_bytes(gguf(general__architecture="llama"))
    write_model(tmp_path / "modelscope" / "models" / "Qwen" / "Qwen9___5", LLAMA)
    models = tmp_path / "我的 models"
    write_model(models / "mine", LLAMA)
    write_model(models / "who" / "deep", LLAMA)
    (models / "tiny.gguf").write_bytes(gguf(general__architecture="llama"))
    (models / "broken.gguf").write_bytes(b"GGUF")
    found = _by_reference(Settings(model_folders=(str(models), str(tmp_path / "nowhere"))))
    assert found["who/good"].usable
    assert found["who/good"].format == "alpaca:article"
    assert "vLLM" in found["who/odd"].missing
    assert "generates text" in found["who/encoder"].missing
    assert found["who/lora"].kind == "adapter"
    assert "--lora who/lora" in found["who/lora"].missing
    assert not found["who/dataset"].usable
    assert found["who/tiny-GGUF"].family == "llama"
    assert found["Qwen/Qwen9.5"].usable
    assert found[str(models / "mine")].kind == "folder"
    assert found[str(models / "who" / "deep")].usable
    assert found[str(models / "tiny.gguf")].family == "llama"
    assert not found[str(models / "broken.gguf")].usable


def test_all_usable_models_resolve(hub: Hub, tmp_path: Path) -> None:
    write_model(hub("who/good"), LLAMA)
    write_model(tmp_path / "models" / "mine", LLAMA)
    settings = Settings(model_folders=(str(tmp_path / "models"),))
    usable = [entry for entry in catalog.list_models(settings) if entry.usable]
    assert len(usable) == 4
    for entry in usable:
        spec = catalog.resolve(entry.reference, settings)
        assert (spec.family, spec.format) == (entry.family, entry.format)


def test_folders_without_permission(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions are simulated, because root has all of them."""
    cached, own = hub("who/locked"), tmp_path / "models" / "lost+found"
    own.mkdir(parents=True)
    stat, iterdir = Path.stat, Path.iterdir

    def locked_stat(path: Path, **options: Any) -> Any:
        if {cached, own} & {*path.parents}:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **options)

    def locked_iterdir(path: Path) -> Any:
        if path in (cached, own):
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "stat", locked_stat)
    monkeypatch.setattr(Path, "iterdir", locked_iterdir)
    settings = Settings(model_folders=(str(tmp_path / "models"),))
    entry = _by_reference(settings)["who/locked"]
    assert not entry.usable and "cannot be read" in entry.missing
    assert list_adapters(settings) == ()
    for reference in ("who/locked", "lost+found", str(own)):
        with pytest.raises(ChatuiError, match=r"cannot be read: .*Permission denied"):
            catalog.resolve(reference, settings)


def test_a_hundred_cached_models_in_a_second_without_torch(hub: Hub) -> None:
    for number in range(100):
        folder = write_model(hub(f"who/model-{number}"), LLAMA)
        shards = {f"layer.{n}": f"model-{n % 3}.safetensors" for n in range(300)}
        index = {"metadata": {"total_size": 3}, "weight_map": shards}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        for shard in set(shards.values()):
            (folder / shard).write_bytes(b"x")
    program = (
        "import sys, time\nbegan = time.process_time()\n"
        "from chatui import catalog\nfrom chatui.settings import Settings\n"
        "found = catalog.list_models(Settings())\nseconds = time.process_time() - began\n"
        "heavy = {'torch', 'transformers', 'pydantic', 'huggingface_hub'} & set(sys.modules)\n"
        "print(sum(e.kind == 'hub' and e.usable for e in found), seconds, sorted(heavy))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    count, seconds, heavy = output.split(" ", 2)
    assert count == "100"
    assert float(seconds) <= 1
    assert heavy.strip() == "[]"
