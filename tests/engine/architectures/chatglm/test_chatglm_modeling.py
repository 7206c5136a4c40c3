"""ChatGLM-6B's network with random tiny weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from chatui.engine.architectures.chatglm.attention import (
    attend_in_half,
    next_position_ids,
    prompt_mask,
    prompt_position_ids,
)
from chatui.engine.architectures.chatglm.chatglm_network import ChatGLMNetwork
from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM, guard_logits

MakeModel = Callable[..., ChatGLMForCausalLM]
STEPS = 6


def greedy(model: ChatGLMForCausalLM, prompt: Tensor, cache: DynamicCache) -> list[int]:
    """Return the tokens of a plain greedy decode loop."""
    positions = prompt_position_ids(prompt, model.config)
    with torch.inference_mode():
        logits = model(prompt, cache=cache).logits
        reply = [int(logits[0, -1].argmax())]
        while len(reply) < STEPS:
            positions = next_position_ids(positions)
            step = torch.tensor([reply[-1:]])
            logits = model(step, position_ids=positions, cache=cache).logits
            reply.append(int(logits[0, -1].argmax()))
    return reply


def test_positions_and_mask_of_a_prompt_with_a_reply(make_model: MakeModel) -> None:
    config = make_model().config
    ids = torch.tensor([[11, 12, 201, 204, 30, 31]])
    positions = prompt_position_ids(ids, config)
    assert positions.tolist() == [[[0, 1, 2, 2, 2, 2], [0, 0, 0, 1, 2, 3]]]
    assert next_position_ids(positions[..., :5]).tolist() == positions[..., 5:].tolist()
    hidden = prompt_mask(ids, config)[0, 0].int().tolist()
    assert hidden == [
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 1, 1, 1],
        [0, 0, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0, 0],
    ]


def test_positions_use_the_first_gmask_or_else_mask(make_model: MakeModel) -> None:
    config = make_model().config
    assert prompt_position_ids(torch.tensor([[11, 201, 12, 201, 204]]), config)[0, 0, -1] == 1
    assert prompt_position_ids(torch.tensor([[200, 11, 201, 204]]), config)[0, 0, -1] == 2
    assert prompt_position_ids(torch.tensor([[11, 200, 204]]), config)[0, 0, -1] == 1


@pytest.mark.parametrize("ids", [[11, 12], [11, 12, 204], [11, 201]])
def test_ids_without_gmask_or_sop_are_refused(make_model: MakeModel, ids: list[int]) -> None:
    with pytest.raises(ValueError, match="a ChatGLM prompt ends with"):
        prompt_position_ids(torch.tensor([ids]), make_model().config)


def test_decoding_with_a_cache_equals_reading_all_again(
    make_model: MakeModel, prompt: Tensor
) -> None:
    model = make_model()
    cache = DynamicCache(config=model.config)
    reply = greedy(model, prompt, cache)
    assert cache.get_seq_length() == prompt.shape[1] + STEPS - 1
    with torch.inference_mode():
        whole = model(torch.cat((prompt, torch.tensor([reply])), dim=1))
    assert whole.logits[0, prompt.shape[1] - 1 : -1].argmax(dim=-1).tolist() == reply


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("prefix", [0, 5])
def test_the_network_gives_the_tokens_of_a_plain_loop(
    make_model: MakeModel, prompt: Tensor, prefix: int, windowed: bool
) -> None:
    """With and without a fixed window; a second prompt uses the same buffers."""
    model = make_model(pre_seq_len=prefix)
    network = ChatGLMNetwork(model, 2000)
    assert network.decoder is not None
    network.decoder.windowed = windowed
    cache = network.new_cache()
    long = torch.cat((torch.arange(1060)[None] % 190, prompt), dim=1)
    for ids in (prompt, long[:, -30:], long, prompt):
        logits = network.prefill(ids[0].tolist(), cache, lambda: False)
        assert logits is not None
        reply = [int(logits.argmax())]
        while len(reply) < STEPS:
            reply.append(int(network.step(reply[-1], cache).argmax()))
        assert reply == greedy(model, ids, DynamicCache(config=model.config))
        assert cache.get_seq_length() == prefix + ids.shape[1] + STEPS - 1
    assert list(cache.steps) == ([2000 + prefix, 1024] if windowed else [])
    rows = network.position_rows(prompt.shape[1])
    assert prompt_position_ids(prompt, model.config)[0].tolist() == [list(row) for row in rows]
    for asked in range(1 if windowed else 3):
        # Before the first layer, before the second, and so on.
        answers = itertools.chain([False] * asked, itertools.repeat(True))
        stop_wanted = answers.__next__
        assert network.prefill(prompt[0].tolist(), network.new_cache(), stop_wanted) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_step_reads_no_values_on_the_host(make_model: MakeModel, dtype: torch.dtype) -> None:
    """On the meta device, reading a value or using a tensor on the CPU is an error."""
    model = make_model().to("meta", dtype)
    network = ChatGLMNetwork(model, 64)
    assert network.decoder is not None
    cache = network.new_cache()
    cache.reserve(1)
    ids = torch.zeros(1, dtype=torch.int64, device="meta")
    with torch.inference_mode():
        assert network.decoder.read_one(ids, cache, 64).shape == (300,)


def test_a_model_on_several_devices_uses_its_own_forward(
    make_model: MakeModel, prompt: Tensor
) -> None:
    model = make_model()
    model.hf_device_map = {"transformer": "cpu", "lm_head": "disk"}
    network = ChatGLMNetwork(model, 64)
    assert network.decoder is None
    cache = network.new_cache()
    logits = network.prefill(prompt[0].tolist(), cache, lambda: False)
    assert logits is not None
    reply = [int(logits.argmax())]
    while len(reply) < STEPS:
        reply.append(int(network.step(reply[-1], cache).argmax()))
    assert reply == greedy(model, prompt, DynamicCache(config=model.config))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close_to_fp32(
    make_model: MakeModel, prompt: Tensor, dtype: torch.dtype
) -> None:
    with torch.inference_mode():
        exact = make_model()(prompt).logits
        rounded = make_model().to(dtype)(prompt).logits
    assert rounded.dtype == dtype
    tolerance = 0.02 if dtype == torch.float16 else 0.15
    assert (rounded.float() - exact).abs().max() < tolerance * exact.std()


def test_scores_beyond_the_range_of_fp16() -> None:
    """q · k of 98304 overflows fp16, unless it is divided by the layer's number."""
    query = torch.full((1, 1, 1, 96), 32.0, dtype=torch.float16)
    key = torch.stack((query[0, 0, 0], -query[0, 0, 0]))[None, None]
    value = torch.tensor([[1.0], [2.0]], dtype=torch.float16).expand(2, 96)[None, None]
    assert torch.isinf(query @ key.transpose(-1, -2)).any()
    context = attend_in_half(query, key, value, None, layer_index=20)
    assert context.tolist() == value[:, :, :1].tolist()


def test_labels_begin_at_sop(make_model: MakeModel, prompt: Tensor) -> None:
    model = make_model()
    pair = torch.cat((prompt, torch.tensor([[30, 31, 205]])), dim=1)
    start = prompt.shape[1] - 1
    labels = pair.masked_fill(torch.arange(pair.shape[1]) < start, -100)
    output = model(pair, labels=labels)
    scores = output.logits[0, start - 1 : -1]
    expected = torch.nn.functional.cross_entropy(scores, pair[0, start:])
    torch.testing.assert_close(output.loss, expected)
    model.train()(pair, labels=labels).loss.backward()
    assert model.transformer.layers[0].attention.query_key_value.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), -float("inf")])
def test_the_guard_forces_a_space(broken: float) -> None:
    logits = torch.linspace(-1, 1, 9)
    assert torch.equal(guard_logits(logits, 5), logits)
    logits[2] = broken
    assert guard_logits(logits, 5).tolist() == [0, 0, 0, 0, 0, 5e4, 0, 0, 0]
