"""LoRA on every family, merged and unmerged, against peft's own results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import adapter_files
import pytest
import torch
from adapter_files import ALL, expected, logits_of
from asking import FAMILIES, ask, loaded, parts

from chatui.messages import Adapter

Maker = Callable[[str], Path]
IDS = [5, 9, 30, 12, 7, 41, 22]
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_logits_are_those_of_peft(made: Maker, tmp_path: Path, family: str) -> None:
    """With the adapter beside the weights, and merged into them."""
    folder = adapter_files.lora(made(family), tmp_path / "lora", ALL[family])
    adapters = (Adapter(str(folder)),)
    beside = loaded(made(family), adapters=adapters)
    wanted = expected(made(family), IDS, folder)
    torch.testing.assert_close(logits_of(beside, IDS), wanted, **CLOSE)
    merged = loaded(made(family), adapters=adapters, merge_adapters=True)
    torch.testing.assert_close(logits_of(merged, IDS), wanted, **CLOSE)
    assert (wanted - expected(made(family), IDS)).abs().max() > 0.1, "of the bare base"
    one, other = parts(ask(beside)), parts(ask(merged))
    assert one[2].output_ids == other[2].output_ids
    assert one[2].text == other[2].text
    for token, same in zip(one[1], other[1], strict=True):
        assert token.logprob == pytest.approx(same.logprob, abs=1e-4)


@pytest.mark.parametrize(
    "config",
    [
        {"use_rslora": True},
        {
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"v_proj": 3.0, "layers.1.mlp.up_proj": 9},
        },
        {"layers_to_transform": [1]},
        {"target_modules": ["embed_tokens", "q_proj", "lm_head"]},
        {"modules_to_save": ["norm", "input_layernorm"]},
        {"target_modules": r".*\.0\.self_attn\.[qv]_proj"},
        {"exclude_modules": r".*\.0\.mlp.*"},
    ],
)
def test_settings_of_the_config(made: Maker, tmp_path: Path, config: dict[str, object]) -> None:
    values = {"targets": ALL["llama"]} | config
    if "target_modules" in config:
        values["targets"] = values.pop("target_modules")
    folder = adapter_files.lora(made("llama"), tmp_path / "lora", **values)
    engine = loaded(made("llama"), adapters=(Adapter(str(folder)),))
    torch.testing.assert_close(
        logits_of(engine, IDS), expected(made("llama"), IDS, folder), **CLOSE
    )


def test_trained_biases(made: Maker, tmp_path: Path) -> None:
    folder = adapter_files.lora(
        made("gpt2_chinese"), tmp_path / "lora", ["c_attn"], bias="all", lora_bias=True
    )
    engine = loaded(made("gpt2_chinese"), adapters=(Adapter(str(folder)),))
    wanted = expected(made("gpt2_chinese"), IDS, folder)
    torch.testing.assert_close(logits_of(engine, IDS), wanted, **CLOSE)


def test_several_adapters(made: Maker, tmp_path: Path) -> None:
    base = made("llama")
    first = adapter_files.lora(base, tmp_path / "first", ["q_proj", "v_proj"])
    second = adapter_files.lora(base, tmp_path / "second", ["v_proj", "up_proj"], seed=2, r=2)
    both = (Adapter(str(first)), Adapter(str(second)))
    wanted = expected(base, IDS, first, second)
    torch.testing.assert_close(logits_of(loaded(base, adapters=both), IDS), wanted, **CLOSE)
    merged = loaded(base, adapters=both, merge_adapters=True)
    torch.testing.assert_close(logits_of(merged, IDS), wanted, **CLOSE)


def test_the_scale_acts_on_the_pairs(made: Maker, tmp_path: Path) -> None:
    base = made("llama")
    folder = adapter_files.lora(base, tmp_path / "lora", ["q_proj"], lora_alpha=16)
    half = adapter_files.lora(base, tmp_path / "half", ["q_proj"], lora_alpha=8)
    scaled = loaded(base, adapters=(Adapter(str(folder), scale=0.5),))
    wanted = expected(base, IDS, half)
    torch.testing.assert_close(logits_of(scaled, IDS), wanted, **CLOSE)
    off = loaded(base, adapters=(Adapter(str(folder), scale=0.0),))
    assert torch.equal(logits_of(off, IDS), logits_of(loaded(base), IDS))
    opposite = (Adapter(str(folder)), Adapter(str(folder), scale=-1.0))
    bare = logits_of(loaded(base), IDS)
    torch.testing.assert_close(logits_of(loaded(base, adapters=opposite), IDS), bare, **CLOSE)


def test_bin_files_are_read(made: Maker, tmp_path: Path) -> None:
    folder = adapter_files.lora(made("llama"), tmp_path / "lora", ["q_proj"])
    wanted = logits_of(loaded(made("llama"), adapters=(Adapter(str(folder)),)), IDS)
    adapter_files.to_bin(folder)
    found = logits_of(loaded(made("llama"), adapters=(Adapter(str(folder)),)), IDS)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_its_dtype(made: Maker, tmp_path: Path, dtype: str) -> None:
    folder = adapter_files.lora(
        made("llama"), tmp_path / "lora", ALL["llama"], modules_to_save=["norm"]
    )
    engine = loaded(made("llama"), adapters=(Adapter(str(folder)),), dtype=dtype)
    wanted = expected(made("llama"), IDS, folder)
    assert torch.nn.functional.cosine_similarity(logits_of(engine, IDS), wanted, dim=0) > 0.99
    model = engine._loaded().adaptable_base.model  # type: ignore[union-attr]
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, dtype)}


def test_a_device_map(made: Maker, tmp_path: Path) -> None:
    folder = adapter_files.lora(made("llama"), tmp_path / "lora", ALL["llama"])
    engine = loaded(made("llama"), adapters=(Adapter(str(folder)),), device_map="auto")
    wanted = expected(made("llama"), IDS, folder)
    torch.testing.assert_close(logits_of(engine, IDS), wanted, **CLOSE)


def test_the_summary_counts_the_pairs(made: Maker, tmp_path: Path) -> None:
    folder = adapter_files.lora(made("llama"), tmp_path / "lora", ["q_proj"], r=4)
    bare = loaded(made("llama"))._loaded().summary
    adapted = loaded(made("llama"), adapters=(Adapter(str(folder)),))._loaded().summary
    assert adapted.parameters - bare.parameters == 2 * 4 * (32 + 32)
    assert adapted.weight_bytes - bare.weight_bytes == 4 * 2 * 4 * (32 + 32)


def test_the_prompt_cache_works_with_adapters(made: Maker, tmp_path: Path) -> None:
    folder = adapter_files.lora(made("llama"), tmp_path / "lora", ALL["llama"])
    engine = loaded(made("llama"), adapters=(Adapter(str(folder)),))
    text = parts(ask(engine))[2].text
    fresh = loaded(made("llama"), adapters=(Adapter(str(folder)),))
    history = (("春眠不觉晓", text),)
    again = parts(ask(engine, "花落", history))
    assert again[0].reused_tokens > 10
    assert again[2].output_ids == parts(ask(fresh, "花落", history))[2].output_ids
