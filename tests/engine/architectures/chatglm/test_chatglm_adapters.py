"""Adapters of ChatGLM-6B in the engine: chatglm-lora.pt, peft 0.2's form, P-Tuning v2."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import adapter_files
import pytest
import torch
from adapter_files import base_of, expected, logits_of
from asking import ask, loaded, parts, spec
from torch import Tensor, nn
from torch.nn import functional

from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM, install_prefix
from chatui.engine.architectures.chatglm.tokenization import ChatGLMTokenizer
from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import Adapter

MakeModel = Callable[..., ChatGLMForCausalLM]
CLOSE = {"atol": 5e-5, "rtol": 1e-5}
LAYERS, WIDTH, RANK = 3, 32, 4
PEFT = "base_model.model.transformer.layers.{}.attention.query_key_value.lora_{}"


@pytest.fixture
def ids(folder: Path) -> list[int]:
    found: list[int] = ChatGLMTokenizer.from_pretrained(folder).encode("晚上睡不着应该怎么办")
    return found


def plain(form: str = "lora_{}.default.weight") -> dict[str, Tensor]:
    """Return the state dict of a LoRA as written by ``save_tunable_parameters``."""
    torch.manual_seed(5)
    state = {}
    for layer in range(LAYERS):
        name = PEFT.format(layer, "").removesuffix("lora_")
        state[name + form.format("A")] = nn.Parameter(torch.randn(RANK, WIDTH) * 0.2)
        state[name + form.format("B")] = nn.Parameter(torch.randn(3 * WIDTH, RANK) * 0.2)
    return state


def with_hooks(folder: Path, add: Callable[[int, Tensor], Tensor], ids: list[int]) -> Tensor:
    """Return a base's next logits with ``add(layer, x)`` added to each query_key_value."""
    model = base_of(folder)
    for number, layer in enumerate(model.transformer.layers):
        layer.attention.query_key_value.register_forward_hook(
            lambda _, inputs, output, number=number: output + add(number, inputs[0])
        )
    with torch.inference_mode():
        logits: Tensor = model(torch.tensor([ids])).logits[0, -1]
    return logits


def test_a_peft_folder(folder: Path, tmp_path: Path, ids: list[int]) -> None:
    lora = adapter_files.lora(folder, tmp_path / "lora", ["query_key_value"], lora_alpha=32)
    engine = loaded(folder, adapters=(Adapter(str(lora)),))
    torch.testing.assert_close(logits_of(engine, ids), expected(folder, ids, lora), **CLOSE)
    merged = loaded(folder, adapters=(Adapter(str(lora)),), merge_adapters=True)
    assert parts(ask(merged))[2].output_ids == parts(ask(engine))[2].output_ids


@pytest.mark.parametrize("form", ["lora_{}.default.weight", "lora_{}.weight", "lora_{}"])
def test_a_bare_state_dict(folder: Path, tmp_path: Path, ids: list[int], form: str) -> None:
    state = plain(form)
    torch.save(state, tmp_path / "chatglm-lora.pt")
    adapter = Adapter(str(tmp_path / "chatglm-lora.pt"), alpha=20.0)
    summary = (engine := Engine()).load(spec(folder, adapters=(adapter,)), lambda _: None)
    assert not any("alpha" in note for note in summary.notes)

    def add(layer: int, states: Tensor) -> Tensor:
        down = state[PEFT.format(layer, form.format("A").removeprefix("lora_"))]
        up = state[PEFT.format(layer, form.format("B").removeprefix("lora_"))]
        return states @ down.T @ up.T * (20.0 / RANK)

    torch.testing.assert_close(logits_of(engine, ids), with_hooks(folder, add, ids), **CLOSE)


def test_an_assumed_alpha_is_noted(folder: Path, tmp_path: Path, ids: list[int]) -> None:
    torch.save(plain(), tmp_path / "chatglm-lora.pt")
    path = str(tmp_path / "chatglm-lora.pt")
    engine = Engine()
    summary = engine.load(spec(folder, adapters=(Adapter(path),)), lambda _: None)
    assert any("32" in note and "chatglm-lora.pt" in note for note in summary.notes)
    told = loaded(folder, adapters=(Adapter(path, rank=RANK, alpha=32.0),))
    assert torch.equal(logits_of(engine, ids), logits_of(told, ids))
    with pytest.raises(ChatuiError, match="rank 4, not 8"):
        loaded(folder, adapters=(Adapter(path, rank=8),))


def test_a_config_beside_the_file_gives_alpha(folder: Path, tmp_path: Path) -> None:
    torch.save(plain(), tmp_path / "chatglm-lora.pt")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": 8}))
    adapter = Adapter(str(tmp_path / "chatglm-lora.pt"))
    summary = Engine().load(spec(folder, adapters=(adapter,)), lambda _: None)
    assert summary.notes == ()


@pytest.mark.parametrize("whole_folder", [True, False])
def test_the_grouped_form_of_old_peft(
    folder: Path, tmp_path: Path, ids: list[int], whole_folder: bool
) -> None:
    """peft 0.2's MergedLinear: A [2r, in], B a grouped kernel [2·out/3, r, 1]."""
    torch.manual_seed(6)
    downs = [torch.randn(2 * RANK, WIDTH) * 0.2 for _ in range(LAYERS)]
    ups = [torch.randn(2 * WIDTH, RANK, 1) * 0.2 for _ in range(LAYERS)]
    state = {}
    for layer in range(LAYERS):
        state[PEFT.format(layer, "A.weight")] = downs[layer]
        state[PEFT.format(layer, "B.weight")] = ups[layer]
    if whole_folder:
        path = tmp_path / "lora"
        path.mkdir()
        torch.save(state, path / "adapter_model.bin")
        config = {
            "peft_type": "LORA", "r": RANK, "lora_alpha": 32, "bias": "none",
            "enable_lora": [True, False, True], "fan_in_fan_out": True, "merge_weights": False,
            "target_modules": ["query_key_value"], "base_model_name_or_path": "THUDM/chatglm-6b",
        }  # fmt: skip
        (path / "adapter_config.json").write_text(json.dumps(config))
    else:
        path = tmp_path / "chatglm-lora.pt"
        torch.save(state, path)
    adapter = Adapter(str(path), alpha=None if whole_folder else 32.0)

    def add(layer: int, states: Tensor) -> Tensor:
        after = functional.conv1d((states @ downs[layer].T).mT, ups[layer], groups=2).mT
        padded = torch.zeros(*states.shape[:-1], 3, WIDTH)
        padded[..., [0, 2], :] = after.unflatten(-1, (2, WIDTH))
        return padded.flatten(-2) * (32 / RANK)

    wanted = with_hooks(folder, add, ids)
    engine = loaded(folder, adapters=(adapter,))
    torch.testing.assert_close(logits_of(engine, ids), wanted, **CLOSE)
    merged = loaded(folder, adapters=(adapter,), merge_adapters=True)
    torch.testing.assert_close(logits_of(merged, ids), wanted, **CLOSE)


@pytest.mark.parametrize("bits", [8, 4])
def test_adapters_run_beside_packed_weights(
    folder: Path, packed: Callable[[int], Path], tmp_path: Path, ids: list[int], bits: int
) -> None:
    checkpoint = packed(bits)
    lora = adapter_files.lora(folder, tmp_path / "lora", ["query_key_value"])
    bare = loaded(checkpoint)
    before = logits_of(bare, ids)
    adapted = replace(spec(checkpoint), adapters=(Adapter(str(lora)),))
    bare.load(adapted, lambda _: None)
    found = logits_of(bare, ids)
    assert (found - before).abs().max() > 0.01
    torch.testing.assert_close(found, expected(checkpoint, ids, lora), **CLOSE)
    bare.load(spec(checkpoint), lambda _: None)
    assert torch.equal(logits_of(bare, ids), before)
    merging = Engine()
    summary = merging.load(replace(adapted, merge_adapters=True), lambda _: None)
    assert any("quantised" in note for note in summary.notes)
    assert torch.equal(logits_of(merging, ids), found)


@pytest.mark.parametrize("projection", [False, True])
def test_a_prefix_is_applied_and_removed(
    folder: Path, tmp_path: Path, ids: list[int], make_model: MakeModel, projection: bool
) -> None:
    """A checkpoint of ChatGLM-6B's ptuning folder: the prefix encoder's weights and a config."""
    tuned = make_model(seed=3, pre_seq_len=5, prefix_projection=projection)
    state = {
        f"transformer.prefix_encoder.{name}": tensor.half()
        for name, tensor in tuned.transformer.prefix_encoder.state_dict().items()
    }
    checkpoint = tmp_path / "checkpoint-3000"
    checkpoint.mkdir()
    torch.save(state, checkpoint / "pytorch_model.bin")
    config = {"model_type": "chatglm", "pre_seq_len": 5, "position_encoding_2d": True}
    (checkpoint / "config.json").write_text(json.dumps(config))
    engine = loaded(folder)
    before = logits_of(engine, ids)
    engine.load(spec(folder, adapters=(Adapter(str(checkpoint)),)), lambda _: None)
    found = logits_of(engine, ids)
    model = base_of(folder)
    install_prefix(model, {name.rpartition("encoder.")[2]: t for name, t in state.items()})
    with torch.inference_mode():
        wanted = model(torch.tensor([ids])).logits[0, -1]
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert (found - before).abs().max() > 0.01
    engine.load(spec(folder), lambda _: None)
    assert torch.equal(logits_of(engine, ids), before)


def test_a_prefix_for_another_size(folder: Path, tmp_path: Path, make_model: MakeModel) -> None:
    tuned = make_model(num_layers=2, pre_seq_len=5)
    state = {
        f"transformer.prefix_encoder.{name}": tensor
        for name, tensor in tuned.transformer.prefix_encoder.state_dict().items()
    }
    torch.save(state, tmp_path / "prefix.pt")
    with pytest.raises(ChatuiError, match=r"prefix\.pt.*chatglm-6b.*5 × 128.*5 × 192"):
        loaded(folder, adapters=(Adapter(str(tmp_path / "prefix.pt")),))
    twice = (Adapter(str(tmp_path / "prefix.pt")),) * 2
    with pytest.raises(ChatuiError):
        loaded(folder, adapters=twice)
