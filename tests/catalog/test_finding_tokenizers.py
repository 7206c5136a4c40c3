"""Finding a model's tokenizer without its weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chatui.catalog.resolving import find_tokenizer
from chatui.errors import ChatuiError
from chatui.settings import Settings

Hub = Callable[[str], Path]


def test_a_preset_without_weights_has_a_tokenizer(hub: Hub) -> None:
    folder = hub("THUDM/chatglm-6b")
    (folder / "ice_text.model").write_bytes(b"")
    found = find_tokenizer("chatglm-6b", Settings())
    assert (found.folder, found.family, found.format) == (folder, "chatglm", "chatglm-6b")


def test_the_adapters_tokenizer_overrides_the_bases(hub: Hub) -> None:
    (hub("yahma/llama-7b-hf") / "tokenizer.model").write_bytes(b"")
    base = find_tokenizer("chinese-alpaca", Settings())
    assert base.folder == hub("yahma/llama-7b-hf")
    (hub("hfl/chinese-alpaca-lora-7b") / "tokenizer.model").write_bytes(b"")
    found = find_tokenizer("chinese-alpaca", Settings())
    assert found.folder == hub("hfl/chinese-alpaca-lora-7b")
    assert (found.family, found.format) == ("llama", "chinese-alpaca")


def test_the_family_comes_from_a_folders_config(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("a")
    assert find_tokenizer(str(tmp_path), Settings()).family == ""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    assert find_tokenizer(str(tmp_path), Settings()).family == "gpt2"
    by_name = find_tokenizer(tmp_path.name, Settings(model_folders=(str(tmp_path.parent),)))
    assert by_name.folder == tmp_path


def test_an_adapter_without_tokenizer_gets_the_bases(tmp_path: Path, hub: Hub) -> None:
    base = hub("who/base")
    (base / "tokenizer.json").write_text("{}")
    (base / "config.json").write_text(json.dumps({"model_type": "llama"}))
    config = json.dumps({"base_model_name_or_path": "who/base"})
    (adapter := tmp_path / "adapter").mkdir()
    (adapter / "adapter_config.json").write_text(config)
    assert find_tokenizer(str(adapter), Settings()).folder == base
    (adapter / "tokenizer.json").write_text("{}")
    found = find_tokenizer(str(adapter), Settings())
    assert (found.folder, found.family) == (adapter, "llama")


@pytest.mark.parametrize("reference", ["qwen3-1.7b", "no-such", "who/model", "empty", "file.gguf"])
def test_models_without_a_tokenizer_are_refused(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, reference: str
) -> None:
    hub("none/none")
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file.gguf").write_bytes(b"GGUF")
    with pytest.raises(ChatuiError, match=r"\.$"):
        find_tokenizer(reference, Settings())
