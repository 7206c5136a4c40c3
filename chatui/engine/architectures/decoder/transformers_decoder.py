"""Build a decoder from the layers of a transformers model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine.architectures.decoder.causal_attention import DecoderShape
from chatui.engine.architectures.decoder.decoder import Decoder, DecoderBlock
from chatui.engine.architectures.decoder.joined_linear import (
    Projection,
    forward_of,
    norm_of,
    projection,
)
from chatui.engine.cache import can_crop, new_cache

_INTERLEAVED_ROTARY = ("GlmForCausalLM", "Glm4ForCausalLM")
_FIXED_ANGLES = ("default", "linear", "llama3", "yarn")
"""Types of rotary positions whose angles are independent of the sequence length."""


def build_decoder(model: Any, window: int) -> Decoder | None:
    """Build a decoder from a model's present layers; None if the model is not supported.

    Args:
        model: a ``PreTrainedModel`` in evaluation mode, with its adapters applied.
        window: context window in tokens.
    """
    build = _BUILDERS.get(type(model).__name__)
    # transformers implements only eager attention for BLOOM.
    attention = "eager" if build is _bloom else "sdpa"
    if (
        build is None
        or not type(model).__module__.startswith("transformers.models.")
        or not on_one_device(model)
        or model.config._attn_implementation != attention
        # Attention must cover all earlier tokens.
        or not can_crop(new_cache(model.config, window))
    ):
        return None
    return build(model)


def on_one_device(model: Any) -> bool:
    devices = {parameter.device for parameter in model.parameters()}
    return len(devices) == 1 and not hasattr(model, "hf_device_map")


def _llama(model: Any) -> Decoder | None:
    body, config = model.model, model.config
    rotary = body.rotary_emb
    if rotary.rope_type not in _FIXED_ANGLES:
        return None
    attention = body.layers[0].self_attn
    shape = DecoderShape(
        heads=config.num_attention_heads,
        key_heads=config.num_key_value_heads,
        head_dim=attention.head_dim,
        scale=attention.scaling,
        rotary="pairs" if type(model).__name__ in _INTERLEAVED_ROTARY else "halves",
        rotary_dim=2 * rotary.inv_freq.shape[0],
        norm_eps=config.rms_norm_eps,
        gated=True,
    )
    like, table = body.norm.weight.detach(), forward_of(body.embed_tokens)

    def angles(positions: Tensor) -> tuple[Tensor, Tensor]:
        cosines, sines = rotary(like, positions[None])
        return cosines[0], sines[0]

    blocks = [_llama_block(layer, shape) for layer in body.layers]
    return Decoder(shape, lambda ids, _: table(ids), blocks, body.norm, model.lm_head, angles)


def _llama_block(layer: Any, shape: DecoderShape) -> DecoderBlock:
    attention, inner = layer.self_attn, layer.mlp
    # Weights on the CPU are often mapped from their file; moving them would take memory.
    move = layer.input_layernorm.weight.device.type != "cpu"
    head_norm = None
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm.weight.detach(), attention.k_norm.weight.detach()
        head_norm = torch.cat((query.expand(shape.heads, -1), key.expand(shape.key_heads, -1)))
    fused = hasattr(inner, "gate_up_proj")
    return DecoderBlock(
        attention_norm=norm_of(layer.input_layernorm),
        qkv_proj=projection(attention.q_proj, attention.k_proj, attention.v_proj, move=move),
        output_proj=_normed(attention.o_proj, getattr(layer, "post_self_attn_layernorm", None)),
        mlp_norm=norm_of(layer.post_attention_layernorm),
        up_proj=projection(inner.gate_up_proj)
        if fused
        else projection(inner.gate_proj, inner.up_proj, move=move),
        activation=forward_of(inner.activation_fn if fused else inner.act_fn),
        down_proj=_normed(inner.down_proj, getattr(layer, "post_mlp_layernorm", None)),
        head_norm=head_norm,
    )


def _normed(module: Any, norm: Any) -> Projection:
    """Return a layer's projection, followed by a norm in GLM-4."""
    project = projection(module)
    if norm is None:
        return project
    normalise = norm_of(norm)
    return lambda states: normalise(project(states))


def older_block(layer: Any, qkv_proj: Projection, *names: str) -> DecoderBlock:
    """Return a block with an MLP of two layers.

    Args:
        names: the paths in ``layer`` of the norm before attention, attention's output layer, the
            norm before the MLP ("" if it reads the same input as attention), and the MLP's layers.
    """
    norm, output, mlp_norm, up, down = (layer.get_submodule(name) for name in names)
    return DecoderBlock(
        attention_norm=norm_of(norm),
        qkv_proj=qkv_proj,
        output_proj=projection(output),
        mlp_norm=None if mlp_norm is layer else norm_of(mlp_norm),
        up_proj=projection(up),
        # BLOOM's and ChatGLM-6B's own functions take more operations.
        activation=forward_of(layer.mlp.act) if hasattr(layer.mlp, "act") else _gelu,
        down_proj=projection(down),
    )


def _gelu(states: Tensor) -> Tensor:
    return functional.gelu(states, approximate="tanh")


def fused_qkv_block(layer: Any, attention: str, heads: int) -> DecoderBlock:
    """Return a block of BLOOM or ChatGLM-6B, whose weight has each head's query, key and value.

    Args:
        attention: the name of the attention in ``layer``.
    """
    qkv_proj = _split_heads(layer.get_submodule(attention).query_key_value, heads, (0, 1, 2))
    return older_block(
        layer, qkv_proj, "input_layernorm", f"{attention}.dense", "post_attention_layernorm",
        "mlp.dense_h_to_4h", "mlp.dense_4h_to_h",
    )  # fmt: skip


def _gpt2(model: Any) -> Decoder | None:
    body, config = model.transformer, model.config
    if (
        config.add_cross_attention
        or config.reorder_and_upcast_attn
        or config.scale_attn_by_inverse_layer_idx
    ):
        return None
    heads, scale = config.n_head, body.h[0].attn.scaling
    shape = DecoderShape(heads, heads, config.n_embd // heads, scale)
    names = ("ln_1", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
    blocks = [older_block(layer, projection(layer.attn.c_attn), *names) for layer in body.h]
    tokens, places = forward_of(body.wte), forward_of(body.wpe)
    return Decoder(
        shape,
        lambda ids, positions: tokens(ids) + places(positions),
        blocks,
        body.ln_f,
        model.lm_head,
    )


def _bloom(model: Any) -> Decoder | None:
    body, config = model.transformer, model.config
    in_slices = config.slow_but_exact and config.pretraining_tp > 1
    if config.apply_residual_connection_post_layernorm or in_slices:
        return None
    heads, scale = config.n_head, body.h[0].self_attention.inv_norm_factor
    shape = DecoderShape(heads, heads, config.hidden_size // heads, scale)
    blocks = [fused_qkv_block(layer, "self_attention", heads) for layer in body.h]
    tokens, norm = forward_of(body.word_embeddings), forward_of(body.word_embeddings_layernorm)
    # The bias of a key is its position times the head's slope.
    slopes = body.build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
    return Decoder(
        shape,
        lambda ids, _: norm(tokens(ids)),
        blocks,
        body.ln_f,
        model.lm_head,
        slopes=slopes,
    )


def _codegen(model: Any) -> Decoder | None:
    """Build MOSS's decoder: parallel attention and MLP, with GPT-J's rotary positions."""
    body, config = model.transformer, model.config
    if config.rotary_dim is None:
        return None
    heads, first = config.n_head, body.h[0].attn
    width = config.n_embd // heads
    shape = DecoderShape(heads, heads, width, first.scaling, "pairs", config.rotary_dim)
    names = ("ln_1", "attn.out_proj", "", "mlp.fc_in", "mlp.fc_out")
    blocks = [
        older_block(layer, _split_heads(layer.attn.qkv_proj, first.mp_num, (0, 2, 1)), *names)
        for layer in body.h
    ]
    tokens, table = forward_of(body.wte), body.rotary_emb.embed_positions

    def angles(positions: Tensor) -> tuple[Tensor, Tensor]:
        sines, cosines = table[positions].chunk(2, dim=-1)
        return cosines, sines

    return Decoder(shape, lambda ids, _: tokens(ids), blocks, body.ln_f, model.lm_head, angles)


def _split_heads(module: Any, groups: int, order: tuple[int, int, int]) -> Projection:
    """Return a projection that reorders a fused one to all queries, all keys, all values.

    Args:
        module: gives ``groups`` times three parts; ``order`` says which are queries, keys, values.
    """
    fused = projection(module)

    def split(states: Tensor) -> Tensor:
        parts = fused(states).view(states.shape[0], groups, 3, -1)
        return torch.cat([parts[:, :, part].flatten(1) for part in order], dim=-1)

    return split


_BUILDERS = {
    **dict.fromkeys(("LlamaForCausalLM", "MistralForCausalLM", *_INTERLEAVED_ROTARY), _llama),
    **dict.fromkeys(("Qwen2ForCausalLM", "Qwen3ForCausalLM"), _llama),
    "GPT2LMHeadModel": _gpt2,
    "BloomForCausalLM": _bloom,
    "CodeGenForCausalLM": _codegen,
}
