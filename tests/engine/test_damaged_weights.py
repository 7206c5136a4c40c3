"""Damaged weight files are refused in a sentence, whatever their readers raise."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from chatui.engine.weights import read_entries
from chatui.errors import ChatuiError

WEIGHTS = {"a.weight": torch.ones(4, 3), "b.bias": torch.zeros(5, dtype=torch.float16)}


def refused_or_read(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        read_entries(file)
    except ChatuiError as error:
        assert file.name in str(error)


@pytest.mark.parametrize("kind", ["safetensors", "zip", "before-1.6"])
def test_mutated_files(tmp_path: Path, kind: str) -> None:
    file = tmp_path / ("m.safetensors" if kind == "safetensors" else "m.bin")
    if kind == "safetensors":
        save_file(WEIGHTS, file)
    else:
        torch.save(WEIGHTS, file, _use_new_zipfile_serialization=kind == "zip")
    whole = file.read_bytes()
    seeded = random.Random(1)
    for _ in range(600):
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
