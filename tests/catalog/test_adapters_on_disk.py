"""Finding and describing adapters on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatui.catalog.adapters import describe_adapter, list_adapters
from chatui.errors import ChatuiError
from chatui.settings import Settings


def peft_folder(folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True)
    values = {
        "peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"],
        "base_model_name_or_path": "yahma/llama-7b-hf", "modules_to_save": None,
    } | config  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(values))
    (folder / "adapter_model.bin").write_bytes(b"x" * 100)
    return folder


def test_a_config_is_told(tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "luotuo")
    found = describe_adapter(folder)
    assert (found.path, found.title, found.kind) == (str(folder), "luotuo", "LORA")
    assert (found.rank, found.alpha, found.targets) == (8, 16.0, ("q_proj", "v_proj"))
    assert (found.base, found.disk_bytes) == ("yahma/llama-7b-hf", 100)


def test_the_title_may_be_given(tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "alpaca")
    assert (
        describe_adapter(folder, "hfl/chinese-alpaca-lora-7b").title == "hfl/chinese-alpaca-lora-7b"
    )


def test_a_bare_file_tells_nothing(tmp_path: Path) -> None:
    file = tmp_path / "chatglm-lora.pt"
    file.write_bytes(b"x" * 7)
    assert describe_adapter(file).kind == ""
    assert describe_adapter(file).disk_bytes == 7
    peft_folder(tmp_path / "beside")
    (tmp_path / "beside" / "chatglm-lora.pt").write_bytes(b"x")
    assert describe_adapter(tmp_path / "beside" / "chatglm-lora.pt").rank == 8


def test_all_places_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / "models--QingyiSi--Alpaca-CoT" / "snapshots" / "abc"
    peft_folder(snapshot / "saved-alpaca-belle-cot7b")
    peft_folder(tmp_path / "hub" / "models--a--b" / "snapshots" / "abc")
    models = tmp_path / "models"
    peft_folder(models / "mine")
    peft_folder(models / "broken", r="eight")
    peft_folder(models / "no-json")
    (models / "no-json" / "adapter_config.json").write_text("{")
    (models / "camelbell").mkdir()
    (models / "camelbell" / "chatglm-lora.pt").write_bytes(b"x")
    (models / "camelbell" / "optimizer.pt").write_bytes(b"x")
    tuned = models / "adgen-chatglm-6b-pt"
    tuned.mkdir()
    (tuned / "config.json").write_text(json.dumps({"model_type": "chatglm", "pre_seq_len": 128}))
    (tuned / "pytorch_model.bin").write_bytes(b"x")
    found = list_adapters(Settings(model_folders=(str(models),)))
    assert [summary.title for summary in found] == [
        "a/b",
        "adgen-chatglm-6b-pt",
        "chatglm-lora.pt",
        "mine",
        "QingyiSi/Alpaca-CoT/saved-alpaca-belle-cot7b",
    ]
    assert found[1].kind == "P_TUNING_V2"


def test_nothing_there(tmp_path: Path) -> None:
    assert list_adapters(Settings(model_folders=(str(tmp_path / "nowhere"),))) == ()
    with pytest.raises(ChatuiError, match="no adapter"):
        describe_adapter(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ChatuiError, match="no adapter"):
        describe_adapter(tmp_path / "empty")
