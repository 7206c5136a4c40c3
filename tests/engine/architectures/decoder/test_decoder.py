"""The decoder against transformers' own forward, with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from chatui.engine.adapters.applied import LoraHook
from chatui.engine.architectures.decoder.decoder import Decoder
from chatui.engine.architectures.decoder.fixed_cache import FixedCache
from chatui.engine.architectures.decoder.joined_linear import projection
from chatui.engine.architectures.decoder.transformers_decoder import build_decoder
from chatui.engine.cache import cache_bytes
from chatui.engine.linear import speed_up
from chatui.engine.network import CausalNetwork

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
    "initializer_range": 0.2, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {
    "rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0,
    "original_max_position_embeddings": 512,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"num_key_value_heads": 4}),
    "llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "llama 3": ("Llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "wide heads": ("Llama", {"head_dim": 16}),
    "llama, long": ("Llama", {"rope_parameters": LINEAR}),
    "mistral": ("Mistral", {"sliding_window": 2048}),
    "internlm 3": ("InternLM3", {"head_dim": 8}),
    "qwen 2": ("Qwen2", {"tie_word_embeddings": True}),
    "qwen 2, long": ("Qwen2", {"rope_parameters": YARN}),
    "qwen 3": ("Qwen3", {"head_dim": 16}),
    "glm": ("Glm", {"head_dim": 8, "attention_bias": True}),
    "glm 4": ("Glm4", {"head_dim": 16, "attention_bias": True}),
    "bloom": ("Bloom", {"n_layer": 2, "n_head": 4}),
    "bloom, six heads": ("Bloom", {"hidden_size": 48, "n_layer": 2, "n_head": 6}),
    "moss": (
        "CodeGen",
        {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 2048, "rotary_dim": 4},
    ),
    "gpt 2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
}
WINDOW = 2048
IDS = [(7 * place * place + 3) % 97 for place in range(64)]


def made(case: str, **changes: Any) -> Any:
    """Make a model with random weights, including norms and biases."""
    kind, values = CASES[case]
    config = getattr(transformers, f"{kind}Config")(**SIZES | values | changes)
    found = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    torch.manual_seed(0)
    model = found(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


class Oracle:
    """transformers' own forward, which reads all tokens again in each call."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._ids: list[int] = []

    def read(self, ids: list[int]) -> Tensor:
        self._ids += ids
        logits: Tensor = self._model(torch.tensor([self._ids]), use_cache=False).logits[0, -1]
        return logits

    def crop(self, tokens_to_remove: int) -> None:
        del self._ids[tokens_to_remove:]


def decoder_on(model: Any) -> Decoder:
    decoder = build_decoder(model, WINDOW)
    assert decoder is not None
    return decoder


def assert_same(model: Any) -> None:
    """Compare the logits of a prompt and of one more token."""
    with torch.inference_mode():
        decoder, oracle = decoder_on(model), Oracle(model)
        cache = decoder.new_cache(WINDOW)
        for ids in (IDS[:9], IDS[9:10]):
            expected = oracle.read(ids)
            torch.testing.assert_close(decoder.read(ids, cache), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_logits_equal_those_of_transformers(case: str, windowed: bool) -> None:
    """Chunks, single tokens and a crop, with and without a fixed window."""
    model = made(case)
    decoder, oracle = decoder_on(model), Oracle(model)
    decoder.windowed = windowed
    cache = decoder.new_cache(WINDOW)

    def same(ids: list[int]) -> None:
        expected = oracle.read(ids)
        torch.testing.assert_close(decoder.read(ids, cache), expected, atol=1e-5, rtol=0)

    for start, end in ((0, 20), (20, 47), (47, 48), (48, 49)):
        same(IDS[start:end])
    cache.crop(-10)
    oracle.crop(-10)
    assert cache.get_seq_length() == 39 == int(cache.position)
    for start, end in ((50, 55), (55, 56)):
        same(IDS[start:end])
    token = 11
    for _ in range(12):
        expected = oracle.read([token])
        got = decoder.read([token], cache)
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        token = int(expected.argmax())
        assert int(got.argmax()) == token


@torch.inference_mode()
def test_windows_and_buffers_grow() -> None:
    model = made("qwen 3", num_hidden_layers=1)
    decoder, oracle = decoder_on(model), Oracle(model)
    decoder.windowed = True
    cache = decoder.new_cache(WINDOW)
    text = IDS * 16
    for part, windows in ((text[:600], []), ([5], [1024]), (text[:430], []), ([6], [2048])):
        expected = oracle.read(part)
        torch.testing.assert_close(decoder.read(part, cache), expected, atol=1e-5, rtol=0)
        # Reallocating the buffers discards the steps captured on them.
        assert list(cache.steps) == windows
    assert cache.capacity == 2048
    cache.crop(-1000)
    decoder.read([5], cache)
    assert list(cache.steps) == [2048, 1024]


@pytest.mark.parametrize("length", [0, 40])
def test_a_large_crop_frees_memory(length: int) -> None:
    network = CausalNetwork(made("llama"), WINDOW)
    cache = network.new_cache()
    network.prefill(IDS * 20, cache, lambda: False)
    full = cache_bytes(cache)
    assert isinstance(cache, FixedCache)
    cache.crop(length - cache.get_seq_length())
    assert cache_bytes(cache) == full * 256 // 1280
    network.prefill(IDS, cache, lambda: False)
    expected = network.prefill(IDS, network.new_cache(), lambda: False)
    got = network.step(4, cache)
    assert expected is not None and got.dtype == torch.float32
    oracle = Oracle(network.model)
    oracle.read(IDS)
    torch.testing.assert_close(got, oracle.read([4]), atol=1e-5, rtol=0)


def test_joined_weights_share_the_memory_of_the_layers() -> None:
    model = made("llama with biases")
    attention = model.model.layers[0].self_attn
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    states = torch.randn(3, 32)
    with torch.inference_mode():
        expected = torch.cat([layer(states) for layer in layers], dim=-1)
        apart = projection(*layers, move=False)
        assert torch.equal(apart(states), expected)
        assert attention.k_proj.weight.untyped_storage().nbytes() == attention.k_proj.weight.nbytes
        joint = projection(*layers, move=True)
        torch.testing.assert_close(joint(states), expected)
    storages = {layer.weight.untyped_storage().data_ptr() for layer in layers}
    assert len(storages) == 1
    size = attention.k_proj.weight.untyped_storage().nbytes()
    assert size == sum(layer.weight.nbytes for layer in layers)
    # The weights are adjacent already, so nothing is moved.
    projection(*layers, move=True)
    assert {layer.weight.untyped_storage().data_ptr() for layer in layers} == storages
    assert_same(model)
    attention.k_proj.weight = nn.Parameter(attention.k_proj.weight * 2)
    assert_same(model)


def test_forward_hooks_are_called() -> None:
    """Hooks on layers with joined weights, as adapters add them."""
    model = made("qwen 2")
    layer = model.model.layers[1]
    parts = (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)
    projection(*parts, move=True)
    plain = decoder_on(model)
    with torch.inference_mode():
        before = plain.read(IDS[:5], plain.new_cache(WINDOW))
        hung = [layer.self_attn.q_proj, layer.mlp.up_proj, model.lm_head, model.model.embed_tokens]
        hooks = [
            module.register_forward_hook(lambda _, inputs, output: output * 1.25) for module in hung
        ]
        adapted = decoder_on(model)
        assert not torch.allclose(
            adapted.read(IDS[:5], adapted.new_cache(WINDOW)), before, atol=1e-3
        )
        assert_same(model)
        for hook in hooks:
            hook.remove()
        again = decoder_on(model)
        assert torch.equal(again.read(IDS[:5], again.new_cache(WINDOW)), before)


@pytest.mark.parametrize("move", [False, True])
def test_lora_pairs_are_joined(move: bool) -> None:
    """LoRA pairs on some of the joined layers, with and without a bias."""
    model = made("qwen 2")
    torch.manual_seed(1)
    for layer in model.model.layers:
        attention, inner = layer.self_attn, layer.mlp
        projection(attention.q_proj, attention.k_proj, attention.v_proj, move=move)
        adapted = (attention.q_proj, attention.v_proj, attention.o_proj, inner.up_proj)
        for rank, module in enumerate(adapted, 2):
            outputs, inputs = module.weight.shape
            bias = torch.randn(outputs) if module is inner.up_proj else None
            pair = LoraHook(torch.randn(rank, inputs) / 5, torch.randn(outputs, rank) / 5, bias)
            module.register_forward_hook(pair)
    assert_same(model)
    decoder = decoder_on(model)
    states = torch.randn(3, 32)
    with torch.inference_mode():
        attention = model.model.layers[1].self_attn
        layers = (attention.q_proj, attention.k_proj, attention.v_proj)
        expected = torch.cat([layer(states) for layer in layers], dim=-1)
        torch.testing.assert_close(decoder._blocks[1].qkv_proj(states), expected)


class PackedLinear(nn.Linear):
    """A linear layer with an int8 weight and a separate scale."""

    def __init__(self, layer: Any) -> None:
        super().__init__(1, 1, bias=False)
        self.scale = 0.01
        packed = (layer.weight.detach() / self.scale).round().clamp(-128, 127).to(torch.int8)
        self.weight = nn.Parameter(packed, requires_grad=False)

    def forward(self, states: Tensor) -> Tensor:
        return states @ (self.weight.float() * self.scale).T


class PackedEmbedding(PackedLinear):
    def forward(self, ids: Tensor) -> Tensor:
        return self.weight[ids].float() * self.scale


def test_packed_layers_are_called() -> None:
    model = made("llama")
    for layer in model.model.layers:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            setattr(layer.self_attn, name, PackedLinear(getattr(layer.self_attn, name)))
        for name in ("gate_proj", "up_proj", "down_proj"):
            setattr(layer.mlp, name, PackedLinear(getattr(layer.mlp, name)))
    model.model.embed_tokens = PackedEmbedding(model.model.embed_tokens)
    assert_same(model)
    assert decoder_on(model).new_cache(WINDOW).layers[0].keys.dtype == torch.float32


def test_faster_linear_layers() -> None:
    model = made("llama", hidden_size=512)
    speed_up(model)
    for layer in model.model.layers:
        projection(layer.mlp.gate_proj, layer.mlp.up_proj, move=True)
    with torch.inference_mode():
        decoder = decoder_on(model)
        got = decoder.read(IDS, decoder.new_cache(WINDOW))
    torch.testing.assert_close(got, Oracle(model).read(IDS), atol=1e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_stays_close(dtype: torch.dtype) -> None:
    model = made("qwen 3").to(dtype)
    decoder = decoder_on(model)
    cache = decoder.new_cache(WINDOW)
    assert cache.layers[0].keys.dtype == dtype
    got = decoder.read(IDS[:20], cache)
    torch.testing.assert_close(got, Oracle(model).read(IDS[:20]), atol=0.1, rtol=0.02)


DYNAMIC = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("mistral", {"sliding_window": 16}),
        ("llama", {"rope_parameters": DYNAMIC}),
        ("llama", {"attn_implementation": "eager"}),
        ("bloom", {"apply_residual_connection_post_layernorm": True}),
        ("bloom", {"slow_but_exact": True, "pretraining_tp": 2}),
        ("gpt 2", {"add_cross_attention": True}),
        ("gpt 2", {"reorder_and_upcast_attn": True}),
        ("gpt 2", {"scale_attn_by_inverse_layer_idx": True}),
    ],
    ids=str,
)
def test_unsupported_settings_use_transformers(case: str, changes: dict[str, Any]) -> None:
    network = CausalNetwork(made(case, **changes), WINDOW)
    assert network.decoder is None
    logits = network.prefill(IDS[:30], network.new_cache(), lambda: False)
    torch.testing.assert_close(logits, Oracle(network.model).read(IDS[:30]), atol=1e-5, rtol=0)


def test_a_model_on_several_devices_uses_transformers() -> None:
    model = made("llama")
    model.hf_device_map = {"model": "cpu", "lm_head": "disk"}
    assert build_decoder(model, WINDOW) is None
    del model.hf_device_map
    model.lm_head.to("meta")
    assert build_decoder(model, WINDOW) is None
