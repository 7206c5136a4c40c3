"""Logits equal those of the authors' code, of peft, and of transformers' loader."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import preset_pieces
import pytest
import tiny_rwkv
import torch
from peft import PeftModel
from preset_adapters import chimera_sum
from preset_shelf import Preset
from preset_talk import load, request
from torch import Tensor
from torch.nn import functional

from chatui.engine.engine import Engine
from chatui.messages import ModelSpec

IDS = [1, 30, 5, 57, 8, 60, 41, 9, 22, 33]
CLOSE = {"atol": 2e-4, "rtol": 1e-4}


def logits_of(spec: ModelSpec) -> Tensor:
    """The engine's logits of the next token after ``IDS``, ``[vocabulary]``."""
    engine: Engine = load(spec)[0]
    network = engine._loaded().network
    logits = network.prefill(IDS, network.new_cache(), lambda: False)
    assert logits is not None
    return logits


def theirs(model: Any) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model.eval()(torch.tensor([IDS])).logits[0, -1]
    return logits


def transformers_own(folder: str) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


@pytest.mark.parametrize(
    "name",
    [
        "bloomz", "belle", "belle-llama-ext-7b", "gpt2-chinese", "linly-chatflow-7b", "qwen2.5",
        "qwen3", "deepseek-r1", "deepseek-r1-8b", "glm-4", "glm-4-9b-chat", "yi", "minicpm",
        "internlm",
    ],
)  # fmt: skip
def test_logits_equal_transformers_loader(name: str, preset: Preset) -> None:
    spec = preset(name, dtype="float32")
    torch.testing.assert_close(logits_of(spec), theirs(transformers_own(spec.path)), **CLOSE)


def test_chimera_is_base_plus_delta(preset: Preset) -> None:
    spec = preset("llmzoo-chimera-7b", dtype="float32")
    assert spec.delta
    expected = theirs(chimera_sum(Path(spec.path), Path(spec.delta)))
    torch.testing.assert_close(logits_of(spec), expected, **CLOSE)
    bare = theirs(transformers_own(spec.path))
    assert (expected[: len(bare)] - bare).abs().max() > 0.1


@pytest.mark.parametrize("name", ["chinese-alpaca-7b", "chinese-alpaca-13b-plus"])
def test_chinese_alpaca_equals_its_merge_script(name: str, preset: Preset) -> None:
    """merge_llama_with_chinese_lora.py: resize to the adapter's tokenizer, merge, the next one."""
    spec = preset(name, dtype="float32")
    model = transformers_own(spec.path)
    merged = preset_pieces.count(preset_pieces.chinese_llama())
    for adapter in spec.adapters:
        rows = merged if "chinese-llama-plus" in adapter.path else merged + 1
        model.resize_token_embeddings(rows, mean_resizing=False)
        model = PeftModel.from_pretrained(model, adapter.path).merge_and_unload()
    torch.testing.assert_close(logits_of(spec), theirs(model), **CLOSE)


@pytest.mark.parametrize("name", ["luotuo", "alpaca-cot-bloom", "chinese-vicuna"])
def test_other_adapters_equal_peft(name: str, preset: Preset) -> None:
    spec = preset(name, dtype="float32")
    model = transformers_own(spec.path)
    for adapter in spec.adapters:
        model = PeftModel.from_pretrained(model, adapter.path)
    torch.testing.assert_close(logits_of(spec), theirs(model), **CLOSE)


def unpacked(packed: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Unpack a weight; in int4, even columns are the high signed halves of the bytes."""
    if bits == 4:
        bytes_ = packed.view(torch.uint8).int()
        columns = torch.stack((bytes_ // 16, bytes_ % 16), dim=-1).flatten(1)
        packed = torch.where(columns > 7, columns - 16, columns)
    return (packed.float() * scale.float()[:, None]).half()


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_chatglm_equals_unpacked(bits: int, preset: Preset, tmp_path: Path) -> None:
    packed = preset(f"chatglm-6b-int{bits}", dtype="float32")
    plain = tmp_path / "plain"
    plain.mkdir()
    for file in Path(packed.path).iterdir():
        (plain / file.name).write_bytes(file.read_bytes())
    state = torch.load(plain / "pytorch_model.bin", weights_only=True)
    scales = {name: state.pop(name) for name in list(state) if name.endswith("_scale")}
    assert len(scales) == 8
    for name, scale in scales.items():
        weight = name.removesuffix("_scale")
        assert state[weight].dtype == torch.int8
        state[weight] = unpacked(state[weight], scale, bits)
    torch.save(state, plain / "pytorch_model.bin")
    config = json.loads((plain / "config.json").read_text(encoding="utf-8"))
    del config["quantization_bit"]
    (plain / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = []
    for spec in (packed, replace(packed, path=str(plain))):
        engine, loaded = load(spec)
        found.append(engine.inspect(request(spec, "春眠不觉晓"), 20).next)
    assert [one.id for one in found[0]] == [one.id for one in found[1]]
    assert [one.logit for one in found[0]] == pytest.approx(
        [one.logit for one in found[1]], abs=1e-3
    )
    assert loaded.weight_bytes > 1.15 * load(packed)[1].weight_bytes


@pytest.mark.parametrize("name", ["chatrwkv-3b", "chatrwkv-world-0.1b"])
def test_rwkv_equals_the_authors_package(name: str, preset: Preset) -> None:
    os.environ["RWKV_JIT_ON"] = "0"
    package = pytest.importorskip("rwkv.model", reason="the rwkv package is not installed")
    spec = preset(name, dtype="float32")
    network = package.RWKV(spec.path, "cpu fp32", verbose=False)
    expected = torch.as_tensor(network.forward(IDS, None)[0]).float()
    torch.testing.assert_close(logits_of(spec), expected, **CLOSE)


def test_the_authors_package_equals_transformers(preset: Preset, tmp_path: Path) -> None:
    """RwkvForCausalLM, after its embedding has passed the first norm in bfloat16 too."""
    from transformers import RwkvForCausalLM

    os.environ["RWKV_JIT_ON"] = "0"
    package = pytest.importorskip("rwkv.model", reason="the rwkv package is not installed")
    spec = preset("chatrwkv-3b", dtype="float32")
    network = package.RWKV(spec.path, "cpu fp32", verbose=False)
    state = torch.load(spec.path, weights_only=True)
    folder = tiny_rwkv.hf_folder(tmp_path / "converted", state)
    model = RwkvForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval()
    block = model.rwkv.blocks[0]
    norm = (block.pre_ln.weight, block.pre_ln.bias)
    table = functional.layer_norm(model.rwkv.embeddings.weight, (tiny_rwkv.WIDTH,), *norm)
    model = model.float()
    model.rwkv.embeddings.weight = torch.nn.Parameter(table.float())
    block.pre_ln = torch.nn.Identity()
    expected = torch.as_tensor(network.forward(IDS, None)[0]).float()
    torch.testing.assert_close(theirs(model), expected, **CLOSE)
