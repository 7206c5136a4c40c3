"""Randomly damaged presets and model files are read or refused with one sentence."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader, GGUFValueType
from model_files import gguf, write_model

from chatui.catalog import describe_model, list_models, resolve
from chatui.catalog.adapters import describe_adapter, list_adapters
from chatui.catalog.gguf import check_gguf
from chatui.catalog.library import SHIPPED, read_user_preset
from chatui.catalog.listing import path_entry
from chatui.catalog.model_files import is_rwkv_file, weight_files
from chatui.catalog.recognise import recognise
from chatui.errors import ChatuiError
from chatui.settings import Settings

JUNK: list[Any] = [None, True, -1, 0, 2**70, 10**400, 1e300, "", "\ud800", "\x00", "../x", [], {}]
JUNK += [[1], [[]], ["a", None], {"a": 1}, float("nan"), "x" * 5000]


def damaged_json(document: dict[str, Any], dice: random.Random) -> bytes:
    """Replace or remove one to three values of ``document``, and damage some bytes."""
    document = json.loads(json.dumps(document))
    for _ in range(dice.randint(1, 3)):
        key = dice.choice([*document, "extra"])
        value = document.get(key)
        if isinstance(value, dict) and value and dice.random() < 0.7:
            value[dice.choice([*value])] = deepcopy(dice.choice(JUNK))
        elif dice.random() < 0.8:
            document[key] = deepcopy(dice.choice(JUNK))
        else:
            document.pop(key, None)
    return damaged(json.dumps(document).encode(), dice, dice.choice((0, 0, 0, 2)))


def damaged(data: bytes, dice: random.Random, times: int) -> bytes:
    """Replace ``times`` bytes or runs of bytes in ``data``."""
    result = bytearray(data)
    pieces = [b"", b"\xff", b"\x00" * 8, b"\xff" * 8, b'"', b"[", b"[" * 9000, b"9" * 5000, b"\\ud"]
    for _ in range(times):
        at = dice.randrange(len(result) + 1)
        result[at : at + dice.choice((0, 1, 8, 40))] = dice.choice(pieces)
    return bytes(result[: dice.randrange(len(result))] if result and times > 3 else result)


def outcomes(read: Callable[[], object]) -> bool:
    """True if ``read`` succeeds; it may only raise ChatuiError."""
    try:
        read()
    except ChatuiError as error:
        assert str(error).strip()
        str(error).encode()
        return False
    return True


def test_damaged_presets(tmp_path: Path) -> None:
    dice = random.Random(1)
    sound = [file.read_bytes() for file in sorted(SHIPPED.glob("*.toml"))]
    pieces = [b"[", b"]", b'"', b"=", b"\n", b"nan", b"-1", b"1e999", b"9" * 5000, b"[" * 9000]
    pieces += [b"\xff", b'"\\ud800"', b"1979-05-27", b"{}", b"[[", b".", b"'", b"true", b"\x00"]
    file = tmp_path / "mine.toml"
    read = 0
    for _ in range(200):
        data = bytearray(dice.choice(sound))
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(data))
            data[at : at + dice.choice((0, 1, 5, 40))] = dice.choice([b"", *pieces])
        file.write_bytes(data)
        read += outcomes(lambda: read_user_preset(file))
    assert 20 < read < 190


def test_damaged_gguf_headers(tmp_path: Path) -> None:
    dice = random.Random(2)
    keys = {"general__architecture": "llama", "general__alignment": 32}
    sound = gguf(tensors=((64, 4), (32,)), **keys, llama__context_length=2048)
    file = tmp_path / "m.gguf"
    read = 0
    for _ in range(200):
        file.write_bytes(damaged(sound, dice, dice.randint(1, 5)))
        read += outcomes(lambda: check_gguf(file))
        outcomes(lambda: resolve(str(file), Settings()))
    assert 8 < read < 190


def test_a_damaged_gguf_is_read_like_by_the_gguf_package(tmp_path: Path) -> None:
    """Compare files that both can read; the package refuses more, e.g. duplicate names."""
    dice = random.Random(6)
    sound = gguf(tensors=((64, 4), (32,)), general__architecture="llama", general__name="Mine")
    file = tmp_path / "m.gguf"
    both = 0
    for _ in range(120):
        file.write_bytes(damaged(sound, dice, dice.randint(1, 2)))
        try:
            header = check_gguf(file)
            reader = GGUFReader(file)
            architecture = reader.get_field("general.architecture")
        except (ChatuiError, ValueError, KeyError, IndexError, OverflowError, MemoryError):
            continue
        if architecture is not None and architecture.types == [GGUFValueType.STRING]:
            both += 1
            assert header.architecture == architecture.contents()
            assert header.tensor_count == len(reader.tensors)
    assert both > 8


def test_damaged_configs_and_indexes(tmp_path: Path) -> None:
    dice = random.Random(3)
    documents: dict[str, dict[str, Any]] = {
        "config.json": {
            "model_type": "chatglm",
            "architectures": ["ChatGLMModel"],
            "max_position_embeddings": 2048,
            "seq_length": 8192,
            "padded_vocab_size": 65024,
            "pre_seq_len": 4,
            "_name_or_path": "x",
        },
        "generation_config.json": {"do_sample": True, "temperature": 0.7, "top_k": 4, "top_p": 0.9},
        "tokenizer_config.json": {"chat_template": "x"},
        "pytorch_model.bin.index.json": {"metadata": {}, "weight_map": {"a": "pytorch_model.bin"}},
    }
    llama = {**documents["config.json"], "model_type": "llama", "architectures": ["LlamaForX"]}
    folder = write_model(tmp_path / "models" / "m", llama, pytorch_model__bin=bytes(9))
    settings = Settings(model_folders=(str(tmp_path / "models"),))
    for _ in range(80):
        for name, document in documents.items():
            if name == "config.json" and dice.random() < 0.7:
                document = llama
            (folder / name).write_bytes(damaged_json(document, dice))
        outcomes(lambda: recognise(folder))
        outcomes(lambda: weight_files(folder))
        outcomes(lambda: resolve(str(folder), settings))
        outcomes(lambda: path_entry(folder))
    describe_model(str(folder), settings)


def test_damaged_adapter_configs(tmp_path: Path) -> None:
    dice = random.Random(4)
    document = {
        "peft_type": "LORA",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj"],
        "modules_to_save": ["embed_tokens"],
        "base_model_name_or_path": "you/base",
    }
    folder = tmp_path / "lora"
    folder.mkdir()
    settings = Settings(model_folders=(str(tmp_path),))
    read = 0
    for _ in range(120):
        (folder / "adapter_config.json").write_bytes(damaged_json(document, dice))
        read += outcomes(lambda: describe_adapter(folder))
        outcomes(lambda: resolve(str(folder), settings))
        outcomes(lambda: list_adapters(settings))
    list_models(settings)
    assert 8 < read < 116


def test_damaged_rwkv_files(tmp_path: Path) -> None:
    dice = random.Random(5)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"blocks.0.att.key " * 9)
        archive.writestr("x/version", "3")
    file = tmp_path / "m.pth"
    found = 0
    for _ in range(200):
        data = bytearray(packed.getvalue())
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        file.write_bytes(data)
        found += is_rwkv_file(file)
        outcomes(lambda: resolve(str(file), Settings()))
    assert 8 < found < 196


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "tokenizer.model"])
def test_a_folder_with_an_lfs_pointer_is_refused(tmp_path: Path, name: str) -> None:
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    folder = write_model(tmp_path, config)
    if name == "pytorch_model.bin":
        (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ChatuiError, match=f"{name} is a Git LFS pointer"):
        resolve(str(folder), Settings())
