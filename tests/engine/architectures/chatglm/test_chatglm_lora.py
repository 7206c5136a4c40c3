"""LoRA on ChatGLM-6B's query_key_value through peft."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from chatglm_packing import packed_linear
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM

MakeModel = Callable[..., ChatGLMForCausalLM]


def add_lora(base: ChatGLMForCausalLM, folder: Path) -> Any:
    """Save an adapter with random weights and load it on a base."""
    config = LoraConfig(
        r=4, lora_alpha=32, target_modules=["query_key_value"], task_type="CAUSAL_LM"
    )
    torch.manual_seed(1)
    made = get_peft_model(base, config)
    for name, parameter in made.named_parameters():
        if "lora_" in name:
            nn.init.normal_(parameter, std=0.2)
    made.save_pretrained(folder)
    return PeftModel.from_pretrained(made.unload(), folder).eval()


def test_merged_equals_unmerged(make_model: MakeModel, tmp_path: Path, prompt: Tensor) -> None:
    base = make_model()
    with torch.inference_mode():
        bare = base(prompt).logits
        model = add_lora(base, tmp_path)
        tuned = model(prompt).logits
        assert (tuned - bare).abs().max() > 0.1
        with model.disable_adapter():
            assert torch.equal(model(prompt).logits, bare)
        merged = model.merge_and_unload()
        torch.testing.assert_close(merged(prompt).logits, tuned, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", [8, 4])
def test_beside_packed_weights(
    make_model: MakeModel, tmp_path: Path, prompt: Tensor, bits: int
) -> None:
    base = make_model()
    for module in list(base.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and name != "lm_head":
                setattr(module, name, packed_linear(child, bits))
    attention = base.transformer.layers[0].attention
    with torch.inference_mode():
        bare = base(prompt).logits
        model = add_lora(base, tmp_path)
        assert (model(prompt).logits - bare).abs().max() > 0.1
        states = torch.randn(1, 2, base.config.hidden_size)
        layer = attention.query_key_value
        delta = layer.get_delta_weight("default")
        expected = layer.base_layer(states) + states @ delta.T
        torch.testing.assert_close(layer(states), expected, rtol=1e-4, atol=1e-4)
        assert torch.equal(model.unload()(prompt).logits, bare)
