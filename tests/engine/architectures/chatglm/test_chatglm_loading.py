"""Loading ChatGLM-6B's checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from asking import loaded
from torch import Tensor

from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM

MakeModel = Callable[..., ChatGLMForCausalLM]


def write_bins(folder: Path, state: dict[str, Tensor], shards: int) -> None:
    """Write the layout of the first releases: pytorch_model-0000n-of-0000m.bin and an index."""
    names = sorted(state)
    weight_map = {}
    for shard in range(shards):
        file = f"pytorch_model-{shard + 1:05d}-of-{shards:05d}.bin"
        part = {name: state[name].clone() for name in names[shard::shards]}
        weight_map.update(dict.fromkeys(part, file))
        torch.save(part, folder / file)
    size = sum(tensor.nbytes for tensor in state.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def assert_same(again: ChatGLMForCausalLM, model: ChatGLMForCausalLM, prompt: Tensor) -> None:
    state = again.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state.pop(name), tensor)
    assert not state
    with torch.inference_mode():
        torch.testing.assert_close(again(prompt).logits, model(prompt).logits)


@pytest.mark.parametrize("shard_size", ["1GB", "20KB"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_safetensors(
    make_model: MakeModel, tmp_path: Path, prompt: Tensor, dtype: torch.dtype, shard_size: str
) -> None:
    model = make_model().to(dtype)
    model.save_pretrained(tmp_path, max_shard_size=shard_size)
    files = list(tmp_path.glob("*.safetensors"))
    assert (len(files) > 1) == (shard_size == "20KB")
    again = ChatGLMForCausalLM.from_pretrained(tmp_path, dtype=dtype)
    assert again.dtype == dtype
    assert_same(again, model, prompt)


@pytest.mark.parametrize("shards", [1, 3])
def test_bin_shards_equal_safetensors(
    make_model: MakeModel, tmp_path: Path, prompt: Tensor, shards: int
) -> None:
    model = make_model().half()
    model.config.save_pretrained(tmp_path)
    inv_freq = {
        f"transformer.layers.{layer}.attention.rotary_emb.inv_freq": torch.full((4,), 7.0)
        for layer in range(model.config.num_layers)
    }
    write_bins(tmp_path, {**model.state_dict(), **inv_freq}, shards)
    again, report = ChatGLMForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float16, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert_same(again, model, prompt)


def test_remote_code_is_never_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "configuration_chatglm.ChatGLMConfig",
        "AutoModel": "modeling_chatglm.ChatGLMForConditionalGeneration",
    }
    config["architectures"] = ["ChatGLMModel"]
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("configuration_chatglm.py", "modeling_chatglm.py", "tokenization_chatglm.py"):
        (folder / name).write_text("raise RuntimeError('remote code ran')\n")
    assert loaded(folder)._loaded().summary.family == "chatglm"


def test_no_weight_is_stored_twice(make_model: MakeModel, tmp_path: Path) -> None:
    """The head is not tied, and every other weight is stored once."""
    model = make_model().half()
    model.save_pretrained(tmp_path / "saved")
    again = ChatGLMForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float16)
    places = [parameter.data_ptr() for parameter in again.parameters()]
    assert len(set(places)) == len(places) == len(list(model.parameters()))
    held = sum(parameter.nbytes for parameter in again.parameters())
    held += sum(buffer.nbytes for buffer in again.buffers())
    assert held == sum(parameter.nbytes for parameter in model.parameters())
    shutil.rmtree(tmp_path / "saved")
