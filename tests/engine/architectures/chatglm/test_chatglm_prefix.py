"""P-Tuning v2 prefixes on ChatGLM-6B."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from chatui.engine.architectures.chatglm.attention import next_position_ids, prompt_position_ids
from chatui.engine.architectures.chatglm.chatglm_network import ChatGLMNetwork
from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM, install_prefix

MakeModel = Callable[..., ChatGLMForCausalLM]
LENGTH = 5


@pytest.fixture(params=[False, True], ids=["embedding", "projection"])
def tuned(request: pytest.FixtureRequest, make_model: MakeModel) -> ChatGLMForCausalLM:
    return make_model(pre_seq_len=LENGTH, prefix_projection=request.param)


def test_the_prefix_precedes_the_keys_of_every_layer(
    tuned: ChatGLMForCausalLM, prompt: Tensor
) -> None:
    """Layer l uses columns 2l·H…(2l+1)·H of the embedding as keys and the next H as values."""
    encoder, heads = tuned.transformer.prefix_encoder, tuned.config.num_attention_heads
    with torch.inference_mode():
        cache = DynamicCache(config=tuned.config)
        tuned(prompt, cache=cache)
        table = encoder.embedding.weight
        table = table if encoder.trans is None else encoder.trans(table)
    for layer in range(tuned.config.num_layers):
        parts = table.view(LENGTH, tuned.config.num_layers * 2, heads, -1).transpose(0, 2)
        torch.testing.assert_close(cache.layers[layer].keys[0, :, :LENGTH], parts[:, 2 * layer])
        torch.testing.assert_close(
            cache.layers[layer].values[0, :, :LENGTH], parts[:, 2 * layer + 1]
        )
    assert cache.get_seq_length() == LENGTH + prompt.shape[1]


def test_decoding_equals_reading_all_again(tuned: ChatGLMForCausalLM, prompt: Tensor) -> None:
    reply = torch.tensor([[30, 31, 32]])
    with torch.inference_mode():
        whole = tuned(torch.cat((prompt, reply), dim=1)).logits[:, -3:]
        cache = DynamicCache(config=tuned.config)
        tuned(prompt, cache=cache)
        positions = prompt_position_ids(prompt, tuned.config)
        steps = []
        for token in reply[0]:
            positions = next_position_ids(positions)
            steps.append(tuned(token.view(1, 1), position_ids=positions, cache=cache).logits)
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, rtol=1e-4, atol=1e-4)


def test_the_network_reads_after_the_prefix(tuned: ChatGLMForCausalLM, prompt: Tensor) -> None:
    network = ChatGLMNetwork(tuned, 64)
    cache = network.new_cache()
    found = network.prefill(prompt[0].tolist(), cache, lambda: False)
    ids = prompt
    for token in (30, 31, 32):
        with torch.inference_mode():
            torch.testing.assert_close(found, tuned(ids).logits[0, -1], rtol=1e-4, atol=1e-4)
        found = network.step(token, cache)
        ids = torch.cat((ids, torch.tensor([[token]])), dim=1)


def test_a_whole_checkpoint_with_its_prefix(
    tuned: ChatGLMForCausalLM, prompt: Tensor, tmp_path: Path
) -> None:
    tuned.save_pretrained(tmp_path)
    again = ChatGLMForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with torch.inference_mode():
        torch.testing.assert_close(again(prompt).logits, tuned(prompt).logits)


def test_a_prefix_is_installed_in_a_loaded_base(
    tuned: ChatGLMForCausalLM, make_model: MakeModel, prompt: Tensor
) -> None:
    base = make_model(seed=1)
    state = tuned.state_dict()
    own = {name: tensor for name, tensor in state.items() if "prefix_encoder" not in name}
    base.load_state_dict(own)
    with torch.inference_mode():
        install_prefix(base, tuned.transformer.prefix_encoder.state_dict())
        torch.testing.assert_close(base(prompt).logits, tuned(prompt).logits)
