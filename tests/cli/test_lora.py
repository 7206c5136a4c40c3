"""``--lora``, from the command line to the engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
import torch
from command import Chatui, is_one_sentence
from safetensors.torch import save_file


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_models.llama(tmp_path / "base-llama")


def lora(folder: Path, width: int = 32) -> Path:
    """Pairs of rank 4 on the queries of a tiny Llama."""
    folder.mkdir()
    torch.manual_seed(1)
    name = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    tensors = {}
    for layer in range(2):
        tensors[name.format(layer, "A")] = torch.randn(4, width)
        tensors[name.format(layer, "B")] = torch.randn(width, 4)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_inspect_shows_what_an_adapter_changes(chatui: Chatui, base: Path, tmp_path: Path) -> None:
    path = str(lora(tmp_path / "lora"))
    best = []
    for scale in ("0", "0.5"):
        asked = ("inspect", "春眠", "--model", str(base), "--lora", f"{path}@{scale}")
        done = chatui(*asked, "--json", "--top", "3")
        assert done.returncode == 0, done.stderr
        best.append([candidate["logit"] for candidate in json.loads(done.stdout)["next"]])
    assert best[0] != best[1]


def test_a_lora_for_another_base_is_refused(chatui: Chatui, base: Path, tmp_path: Path) -> None:
    path = str(lora(tmp_path / "wide-lora", width=64))
    done = chatui("ask", "春眠", "--model", str(base), "--lora", path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert is_one_sentence(done.stderr)
    assert "wide-lora" in done.stderr
    assert "base-llama" in done.stderr
