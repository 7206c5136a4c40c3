"""Damaged model files raise a ChatuiError, whatever their readers raise."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import tiny_rwkv
import torch
from damage import damaged, wrong_bytes
from safetensors.torch import save_file

from chatui.engine.architectures.rwkv.rwkv_tokenizers import read_world_vocabulary
from chatui.engine.codec import make_codec
from chatui.engine.tokenizers import load_tokenizer
from chatui.engine.tuning.tuning_examples import TuningExamples
from chatui.engine.weights import find_weights, read_entries
from chatui.errors import ChatuiError

WEIGHTS = {"a.weight": torch.ones(4, 3), "b.bias": torch.zeros(5, dtype=torch.float16)}


def refused_or_read(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        read_entries(file)
    except ChatuiError as error:
        assert file.name in str(error)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "before-1.6"])
def test_mutated_weight_files(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ("m.safetensors" if kind == "safetensors" else "m.bin")
    if kind == "safetensors":
        save_file(WEIGHTS, file)
    else:
        torch.save(WEIGHTS, file, _use_new_zipfile_serialization=kind == "zip")
    whole = file.read_bytes()
    seeded = random.Random(1)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(seeded.choice((1, 1, 2, 4))):
            at = seeded.randrange(len(data))
            if seeded.random() < 0.7:
                data[at] = seeded.randrange(256)
            else:
                del data[at : at + seeded.randrange(1, 9)]
        refused_or_read(file, bytes(data))


def test_an_archive_that_claims_several_disks(tmp_path: Path) -> None:
    file = tmp_path / "m.bin"
    torch.save(WEIGHTS, file)
    data = bytearray(file.read_bytes())
    # ZIP64 end of central directory locator: signature, disk, u64 offset, u32 number of disks.
    locator = data.rindex(b"PK\x06\x07")
    data[locator + 16 : locator + 20] = struct.pack("<I", 3)
    file.write_bytes(data)
    with pytest.raises(ChatuiError, match=r"m\.bin"):
        read_entries(file)


def test_a_header_nested_too_deep(tmp_path: Path) -> None:
    header = b'{"a":' * 60_000 + b"1" + b"}" * 60_000
    file = tmp_path / "m.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(ChatuiError, match=r"m\.safetensors"):
        read_entries(file)


def refused(read: Callable[[], object]) -> bool:
    """Return True if ``read`` raises a ChatuiError of one line; let other errors through."""
    try:
        read()
    except ChatuiError as error:
        assert "\n" not in str(error)
        return True
    return False


def test_mutated_headers_and_indexes(tmp_path: Path) -> None:
    dice = random.Random(2)
    file, index = tmp_path / "a.safetensors", tmp_path / "model.safetensors.index.json"
    save_file(WEIGHTS, file)
    whole = file.read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8 : 8 + size])
    for _ in range(200):
        text = damaged(header, dice)
        file.write_bytes(struct.pack("<Q", len(text)) + text + whole[8 + size :])
        if not refused(lambda: read_entries(file)):
            assert all(isinstance(each, int) for e in read_entries(file) for each in e.shape)
    file.write_bytes(whole)
    places: list[object] = [5, None, "x" * 9000, "\0", "\ud800", "..", ["a"]]
    for place in places:
        index.write_text(json.dumps({"weight_map": {"a.weight": "a.safetensors", "b.bias": place}}))
        assert refused(lambda: find_weights(tmp_path))


@pytest.mark.parametrize("family", ["llama", "moss"])
def test_mutated_tokenizers(tmp_path: Path, family: str) -> None:
    dice = random.Random(3)
    make = getattr(tiny_models, family)
    folder = make(tmp_path)
    names = ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt"]
    for file in filter(Path.is_file, (folder / name for name in names)):
        whole = file.read_bytes()
        for _ in range(15):
            is_json = file.suffix == ".json" and dice.random() < 0.8
            file.write_bytes(
                damaged(json.loads(whole), dice) if is_json else wrong_bytes(whole, dice)
            )
            refused(lambda: make_codec(load_tokenizer(folder, family)).encode("春眠 hello"))
        file.write_bytes(whole)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": "much"}))
    assert make_codec(load_tokenizer(folder, family)).encode("春眠 hello")


def test_mutated_vocabularies_of_rwkv(tmp_path: Path) -> None:
    dice = random.Random(4)
    file = tmp_path / "vocab.txt"
    whole = tiny_rwkv.world_lines()
    for _ in range(40):
        file.write_bytes(wrong_bytes(whole.encode(), dice))
        refused(lambda: read_world_vocabulary(file).encode("春a"))
    for line in (f"300 {2**70} 8", "300 8 8", f"300 {'[' * 9000} 1", "300 None 1"):
        file.write_text(f"{whole}\n{line}\n", encoding="utf-8")
        assert refused(lambda: read_world_vocabulary(file))


def test_mutated_training_examples(tmp_path: Path) -> None:
    dice = random.Random(5)
    row = {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, 3, 4], "attention_mask": [1] * 4}
    sound = json.dumps(row).encode()
    file = tmp_path / "examples.jsonl"

    def read_all() -> None:
        examples = TuningExamples(file)
        examples.check_vocabulary(10)
        for index in range(len(examples)):
            pair = examples[index]
            assert pair.input_ids.shape == pair.labels.shape
            assert all(0 <= id < 10 for id in pair.input_ids.tolist())
            assert all(id == -100 or 0 <= id < 10 for id in pair.labels.tolist())

    for _ in range(200):
        file.write_bytes(b"\n".join((sound, damaged(row, dice))))
        refused(read_all)
    # Wrong rows after the first hundred are found too.
    for wrong in ({"input_ids": [1, 2, 3, 99]}, {"labels": [-5, 1, 2, 3]}, {"labels": [99] * 4}):
        file.write_bytes(b"\n".join([sound] * 120 + [json.dumps(row | wrong).encode()]))
        assert refused(read_all)
