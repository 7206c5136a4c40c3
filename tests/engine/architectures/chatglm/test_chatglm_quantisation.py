"""The packed linear layers of ChatGLM-6B's int8 and int4 checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from chatglm_packing import dequantise, packed_linear, quantise
from safetensors.torch import load_file
from torch import Tensor, nn

from chatui.engine import int8_weight
from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM
from chatui.engine.architectures.chatglm.quantisation import ChatGLMQuantisedLinear

MakeModel = Callable[..., ChatGLMForCausalLM]


def quantised(model: ChatGLMForCausalLM, bits: int) -> dict[str, Tensor]:
    """Return the state dict of a quantised checkpoint of a model."""
    state = {}
    for name, tensor in model.half().state_dict().items():
        if (".attention." in name or ".mlp." in name) and name.endswith(".weight"):
            state[name], state[f"{name}_scale"] = quantise(tensor, bits)
        else:
            state[name] = tensor
    return state


def test_int4_puts_even_columns_in_the_high_half() -> None:
    packed, scale = quantise(torch.tensor([[7.0, -1.0, -7.0, 0.0]]), 4)
    assert packed.view(torch.uint8).tolist() == [[0x7F, 0x90]]
    assert scale.tolist() == [1.0]
    lowest = torch.tensor([[-128]], dtype=torch.int8)
    assert dequantise(lowest, scale, 4).tolist() == [[-8.0, 0.0]]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_of_zeros_stays_zeros(bits: int) -> None:
    packed, scale = quantise(torch.zeros(2, 4, dtype=torch.float16), bits)
    assert dequantise(packed, scale, bits).tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("vectors", [1, 3, 40])
@pytest.mark.parametrize("codes", [False, True])
def test_products_equal_those_with_the_dequantised_weight(
    bits: int, dtype: torch.dtype, vectors: int, codes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the layout for small weights, and in that for large ones, which has 8 bits."""
    torch.manual_seed(0)
    layer = packed_linear(nn.Linear(64, 150), bits)
    states = torch.randn(1, vectors, 64).to(dtype)
    weight = dequantise(layer.weight, layer.weight_scale, bits)
    monkeypatch.setattr(int8_weight, "MIN_ELEMENTS", 0 if codes else 1 << 40)
    layer.prepare_weight(widen=True)
    assert (layer.int8_weight is not None) is codes
    expected = nn.functional.linear(states.float(), weight.float(), layer.bias)
    output = layer(states)
    (gradient,) = torch.autograd.grad(
        layer(states.requires_grad_()).float().square().sum() / 2, states
    )
    assert output.dtype == dtype
    # For a few vectors weights are not rounded to float16; int8 products use 14-bit states.
    exact = 2e-3 if codes else 1e-5 if vectors == 40 else 5e-4
    tolerance = {torch.float32: exact, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(output.float(), expected, rtol=tolerance, atol=tolerance)
    back = expected @ weight.float()
    torch.testing.assert_close(gradient.float(), back, rtol=tolerance, atol=20 * tolerance)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_checkpoint_stays_packed_in_memory(
    make_model: MakeModel, tmp_path: Path, prompt: Tensor, bits: int
) -> None:
    plain = make_model(hidden_size=64)
    plain.config.quantization_bit = bits
    plain.config.save_pretrained(tmp_path)
    state = quantised(plain, bits)
    torch.save(state, tmp_path / "pytorch_model.bin")
    model = ChatGLMForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if isinstance(model.get_submodule(name.rpartition(".")[0]), ChatGLMQuantisedLinear):
            assert parameter.dtype == (torch.float32 if "bias" in name else state[name].dtype)
            assert parameter.shape == state[name].shape

    unpacked = make_model(hidden_size=64)
    for name, tensor in state.items():
        if name.endswith("weight_scale"):
            weight = name.removesuffix("_scale")
            state[weight] = dequantise(state[weight], tensor, bits)
    unpacked.load_state_dict(
        {name: tensor.float() for name, tensor in state.items() if "_scale" not in name}
    )
    with torch.inference_mode():
        torch.testing.assert_close(
            model(prompt).logits, unpacked(prompt).logits, rtol=1e-3, atol=1e-3
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_casts_keep_the_scales_in_fp16(dtype: torch.dtype) -> None:
    layer = packed_linear(nn.Linear(16, 8), 8)
    scale = layer.weight_scale.clone()
    layer.to(dtype)
    assert layer.weight_scale.dtype == torch.float16
    assert torch.equal(layer.weight_scale, scale)
    assert layer.bias is not None
    assert layer.bias.dtype == dtype


@pytest.mark.parametrize("bits", [8, 4])
def test_equals_the_reference(reference: Path, bits: int) -> None:
    case = load_file(reference / "chatglm-6b/quantised_linear.safetensors")
    weight, scale = case[f"int{bits}.weight"], case[f"int{bits}.weight_scale"]
    assert torch.equal(dequantise(weight, scale, bits), case[f"int{bits}.dequantized"])
    packed, scales = quantise(case["weight_fp16"], bits)
    assert torch.equal(packed, weight)
    assert torch.equal(scales, scale)
