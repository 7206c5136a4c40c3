"""Fast paths give the results of transformers and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from asking import ask, loaded, parts
from torch import nn
from transformers.pytorch_utils import Conv1D

from chatui.engine import linear, threads

Maker = Callable[[str], Path]


@pytest.mark.parametrize("rows", [1, 3, 40])
@pytest.mark.parametrize("bias", [True, False])
def test_onednn_products_match_pytorch(rows: int, bias: bool) -> None:
    if not linear.onednn_is_faster():
        pytest.skip("float32 products stay with MKL on this processor")
    states = torch.randn(1, rows, 768)
    plain = nn.Linear(768, 2048, bias=bias)
    conv = Conv1D(2048, 768)
    for module in (plain, conv):
        nn.init.normal_(module.weight)
        with torch.inference_mode():
            expected = module(states)
            holder = nn.ModuleList([module])
            linear.speed_up(holder)
            assert type(module) in (linear.FastLinear, linear.FastConv1D)
            assert isinstance(module, nn.Linear | Conv1D)
            torch.testing.assert_close(module(states), expected, atol=1e-3, rtol=1e-4)
            one = module(states[0, 0])
            torch.testing.assert_close(one, expected[0, 0], atol=1e-3, rtol=1e-4)


def test_half_precision_uses_pytorch() -> None:
    module = nn.Linear(768, 2048).bfloat16()
    linear.speed_up(nn.ModuleList([module]))
    assert type(module) is nn.Linear
    mixed = linear.FastLinear(4, 4).bfloat16()
    assert mixed(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_seed_gives_the_same_text_with_onednn_and_mkl(
    made: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = parts(ask(loaded(made("llama")), greedy=False, seed=4))[2]
    monkeypatch.setattr(linear, "onednn_is_faster", lambda: False)
    assert parts(ask(loaded(made("llama")), greedy=False, seed=4))[2].text == fast.text


def test_small_models_use_one_thread(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(threads, "_all_threads", lambda: 6)
    monkeypatch.setattr(torch, "set_num_threads", taken.append)
    loaded(made("llama"))
    assert taken == [6, 1]
    threads.use_threads(7 * 10**9)
    assert taken[-1] == 6
