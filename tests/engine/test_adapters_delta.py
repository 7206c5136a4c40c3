"""Weights published as a delta: base + delta gives the model, as with apply_delta.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from adapter_files import logits_of, lora
from asking import ask, loaded, parts, spec
from safetensors.torch import load_file, save_file
from transformers import AddedToken

from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import Adapter, Loading

Maker = Callable[[str], Path]
IDS = [5, 9, 30, 12, 7]
TABLES = ("embed_tokens", "lm_head")


def make_delta(target: Path, base: Path, folder: Path) -> Path:
    """Write target - base in float16, with the rows of new tokens unchanged, as make_delta.py."""
    folder.mkdir()
    of_target = load_file(target / "model.safetensors")
    of_base = load_file(base / "model.safetensors")
    delta = {}
    for name, tensor in of_target.items():
        delta[name] = tensor.half()
        delta[name][: of_base[name].shape[0]] -= of_base[name].half()
    save_file(delta, folder / "model.safetensors", metadata={"format": "pt"})
    for file in target.iterdir():
        if file.name != "model.safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture
def halves(tmp_path: Path) -> tuple[Path, Path]:
    """A base and a model with one more token, both in float16."""
    base = tiny_models.llama(tmp_path / "llama-7b", dtype="float16")
    tokenizer = tiny_models.byte_fallback_tokenizer()
    tokenizer.add_tokens([AddedToken("<pad>", normalized=False)])
    target = tiny_models.llama(
        tmp_path / "chimera", seed=4, dtype="float16", vocab_size=len(tokenizer)
    )
    tokenizer.save_pretrained(target)
    return base, target


@pytest.mark.parametrize("sharded", [False, True])
def test_the_sum_is_the_model(halves: tuple[Path, Path], tmp_path: Path, sharded: bool) -> None:
    base, target = halves
    delta = make_delta(target, base, tmp_path / "delta")
    of_base, of_delta = (
        load_file(base / "model.safetensors"),
        load_file(delta / "model.safetensors"),
    )
    if sharded:
        tiny_models.to_bin(base)
        tiny_models.to_bin(delta)
    engine = loaded(base, delta=str(delta), tokenizer=str(delta))
    state = engine._loaded().adaptable_base.model.state_dict()  # type: ignore[union-attr]
    for name, tensor in of_delta.items():
        total = tensor.clone()
        total[: of_base[name].shape[0]] += of_base[name]
        assert torch.equal(state[name], total.float()), name
    wanted = logits_of(loaded(target), IDS)
    torch.testing.assert_close(logits_of(engine, IDS), wanted, atol=0.02, rtol=0.01)
    assert parts(ask(engine))[2].output_tokens


def test_progress_counts_both(halves: tuple[Path, Path], tmp_path: Path) -> None:
    base, target = halves
    delta = make_delta(target, base, tmp_path / "delta")
    events: list[Loading] = []
    Engine().load(spec(base, delta=str(delta), tokenizer=str(delta)), events.append)
    both = sum((folder / "model.safetensors").stat().st_size for folder in (base, delta))
    last = [event for event in events if event.total_bytes][-1]
    assert last.done_bytes == last.total_bytes
    assert 0.9 * both < last.total_bytes < both


def test_a_device_map_takes_the_sum_too(halves: tuple[Path, Path], tmp_path: Path) -> None:
    base, target = halves
    delta = make_delta(target, base, tmp_path / "delta")
    values: dict[str, Any] = {"delta": str(delta), "tokenizer": str(delta), "dtype": "float32"}
    wanted = logits_of(loaded(base, **values), IDS)
    assert torch.equal(logits_of(loaded(base, device_map="auto", **values), IDS), wanted)


def test_an_adapter_on_the_sum(halves: tuple[Path, Path], tmp_path: Path) -> None:
    base, target = halves
    delta = make_delta(target, base, tmp_path / "delta")
    adapter = Adapter(str(lora(target, tmp_path / "lora", ["q_proj", "lm_head"])))
    engine = loaded(base, delta=str(delta), tokenizer=str(delta))
    bare = logits_of(engine, IDS)
    summed = spec(base, delta=str(delta), tokenizer=str(delta), adapters=(adapter,))
    engine.load(summed, lambda _: None)
    wanted = logits_of(loaded(target, adapters=(adapter,)), IDS)
    torch.testing.assert_close(logits_of(engine, IDS), wanted, atol=0.02, rtol=0.01)
    engine.load(spec(base, delta=str(delta), tokenizer=str(delta)), lambda _: None)
    assert torch.equal(logits_of(engine, IDS), bare)


def test_a_delta_of_another_base(halves: tuple[Path, Path], tmp_path: Path) -> None:
    base, target = halves
    delta = make_delta(target, base, tmp_path / "delta")
    wide = tiny_models.llama(tmp_path / "wide", hidden_size=64)
    with pytest.raises(ChatuiError, match=r"delta.*base wide.*\[421, 32\]|delta.*base wide"):
        loaded(wide, delta=str(delta))
    deep = tiny_models.llama(tmp_path / "deep", num_hidden_layers=3)
    with pytest.raises(ChatuiError, match=r"layers\.2"):
        loaded(deep, delta=str(delta))
    flat = tiny_models.llama(tmp_path / "flat", num_hidden_layers=1)
    with pytest.raises(ChatuiError, match=r"base flat: the base lacks model\.layers\.1"):
        loaded(flat, delta=str(delta))
    with pytest.raises(ChatuiError, match="no weights"):
        loaded(base, delta=str(tmp_path))
    with pytest.raises(ChatuiError, match="no weights"):
        loaded(base, delta=str(tmp_path / "nothing"))
