"""Logits equal those of the `rwkv` package and of transformers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import tiny_rwkv
import torch
from torch import Tensor
from torch.nn import functional
from transformers import RwkvForCausalLM

from chatui.engine.engine import Engine
from chatui.engine.model import LoadedModel

Load = Callable[..., Engine]
Read = Callable[[LoadedModel, Sequence[int]], Tensor]
IDS = [(place * 37 + 11) % 380 for place in range(300)]


def test_golden(reference: Path, load: Load, read: Read) -> None:
    model = load(reference / "rwkv4" / "tiny.pth")._loaded()
    for case in json.loads((reference / "rwkv4" / "golden.json").read_text()):
        logits = read(model, case["input_ids"])
        expected = torch.tensor(case["last_logits_first64"])
        torch.testing.assert_close(logits[: len(expected)], expected, atol=1e-5, rtol=0)
        best, ids = torch.topk(logits, len(case["top5"]))
        assert ids.tolist() == [id for id, _ in case["top5"]]
        assert best.tolist() == pytest.approx([value for _, value in case["top5"]], abs=1e-5)
        cache = model.network.new_cache()
        following = model.network.prefill(case["input_ids"], cache, lambda: False)
        greedy = []
        for _ in case["greedy_16"]:
            assert following is not None
            greedy.append(int(following.argmax()))
            following = model.network.step(greedy[-1], cache)
        assert greedy == case["greedy_16"]


@pytest.mark.parametrize(
    ("stored", "strategy", "dtype", "tolerance"),
    [
        ("bfloat16", "cpu fp32", "float32", 1e-4),
        ("float16", "cpu fp32", "float32", 1e-4),
        ("float32", "cpu fp32", "float32", 1e-4),
        ("bfloat16", "cpu bf16", "bfloat16", 0.3),
    ],
)
def test_logits_equal_those_of_the_rwkv_package(
    tmp_path: Path,
    load: Load,
    read: Read,
    authors: Callable[[Path, str], Callable[[Sequence[int]], Tensor]],
    stored: str,
    strategy: str,
    dtype: str,
    tolerance: float,
) -> None:
    file = tiny_rwkv.raven(tmp_path, dtype=stored, layers=4)
    theirs = authors(file, strategy)
    ours = load(file, dtype=dtype)._loaded()
    for count in (1, 2, 40, 120):
        torch.testing.assert_close(
            read(ours, IDS[:count]), theirs(IDS[:count]), atol=tolerance, rtol=0
        )


def test_transformers(tmp_path: Path, load: Load, read: Read) -> None:
    """Compare with RwkvForCausalLM, which also applies the first norm in bfloat16."""
    state = tiny_rwkv.tensors(rows=tiny_rwkv.pile_tokenizer().get_vocab_size())
    folder = tiny_rwkv.hf_folder(tmp_path / "folder", state)
    theirs = RwkvForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    block = theirs.rwkv.blocks[0]
    table = functional.layer_norm(
        theirs.rwkv.embeddings.weight, (tiny_rwkv.WIDTH,), block.pre_ln.weight, block.pre_ln.bias
    )
    theirs = theirs.float()
    theirs.rwkv.embeddings.weight = torch.nn.Parameter(table.float())
    block.pre_ln = torch.nn.Identity()
    file = tiny_rwkv.write(tmp_path / "same.pth", rows=len(state["emb.weight"]))
    (tmp_path / tiny_rwkv.PILE_FILE).write_bytes((folder / "tokenizer.json").read_bytes())
    of_folder, of_file = load(folder)._loaded(), load(file)._loaded()
    assert of_folder.context_limit == 512
    for count in (1, 2, 40, 300):
        with torch.inference_mode():
            expected = theirs(torch.tensor([IDS[:count]])).logits[0, -1]
        logits = read(of_file, IDS[:count])
        torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
        assert torch.equal(read(of_folder, IDS[:count]), logits)
