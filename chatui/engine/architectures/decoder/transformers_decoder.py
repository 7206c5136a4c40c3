"""Build a decoder from the layers of a transformers model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine.architectures.decoder.causal_attention import DecoderShape
from chatui.engine.architectures.decoder.decoder import Decoder, DecoderBlock, Norm
from chatui.engine.architectures.decoder.joined_linear import Projection, forward_of, projection
from chatui.engine.cache import can_crop, new_cache

_INTERLEAVED_ROTARY = ("GlmForCausalLM", "Glm4ForCausalLM")
_LLAMA_LIKE = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    *_INTERLEAVED_ROTARY,
)
_FIXED_ANGLES = ("default", "linear", "llama3", "yarn")
"""Types of rotary positions whose angles are independent of the sequence length."""


def build_decoder(model: Any, window: int) -> Decoder | None:
    """Build a decoder from a model's present layers; None if the model is not supported.

    Args:
        model: a ``PreTrainedModel`` in evaluation mode, with its adapters applied.
        window: context window in tokens.
    """
    kind = type(model)
    if not kind.__module__.startswith("transformers.models.") or not _is_supported(model, window):
        return None
    if kind.__name__ in _LLAMA_LIKE and model.model.rotary_emb.rope_type in _FIXED_ANGLES:
        return _llama(model)
    other = {"GPT2LMHeadModel": _gpt2, "BloomForCausalLM": _bloom, "CodeGenForCausalLM": _codegen}
    return other[kind.__name__](model) if kind.__name__ in other else None


def on_one_device(model: Any) -> bool:
    devices = {parameter.device for parameter in model.parameters()}
    return len(devices) == 1 and not hasattr(model, "hf_device_map")


def _is_supported(model: Any, window: int) -> bool:
    """True if the model is on one device and its attention covers all earlier tokens."""
    # transformers implements only eager attention for BLOOM.
    attention = "eager" if type(model).__name__ == "BloomForCausalLM" else "sdpa"
    return (
        on_one_device(model)
        and model.config._attn_implementation == attention
        and can_crop(new_cache(model.config, window))
    )


def _llama(model: Any) -> Decoder:
    body, config = model.model, model.config
    rotary = body.rotary_emb
    attention = body.layers[0].self_attn
    key_heads = config.num_key_value_heads
    width = attention.head_dim
    shape = DecoderShape(
        heads=config.num_attention_heads,
        key_heads=key_heads,
        head_dim=width,
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

    return Decoder(
        shape,
        lambda ids, _: table(ids),
        angles,
        [_llama_block(layer, shape) for layer in body.layers],
        _rms_norm(body.norm),
        projection(model.lm_head, move=False),
        like,
    )


def _llama_block(layer: Any, shape: DecoderShape) -> DecoderBlock:
    attention, inner = layer.self_attn, layer.mlp
    # Weights on the CPU are often mapped from their file; moving them would take memory.
    move = layer.input_layernorm.weight.device.type != "cpu"
    qkv_proj = projection(attention.q_proj, attention.k_proj, attention.v_proj, move=move)
    head_norm = None
    if hasattr(attention, "q_norm"):
        query, key = attention.q_norm.weight.detach(), attention.k_norm.weight.detach()
        head_norm = torch.cat((query.expand(shape.heads, -1), key.expand(shape.key_heads, -1)))
    if hasattr(inner, "gate_up_proj"):
        up_proj = projection(inner.gate_up_proj, move=False)
    else:
        up_proj = projection(inner.gate_proj, inner.up_proj, move=move)
    # GLM-4 also normalises the results of attention and MLP.
    has_post_norms = hasattr(layer, "post_self_attn_layernorm")
    return DecoderBlock(
        attention_norm=_rms_norm(layer.input_layernorm),
        qkv_proj=qkv_proj,
        head_norm=head_norm,
        output_proj=projection(attention.o_proj, move=False),
        mlp_norm=_rms_norm(layer.post_attention_layernorm),
        up_proj=up_proj,
        activation=forward_of(
            inner.activation_fn if hasattr(inner, "activation_fn") else inner.act_fn
        ),
        down_proj=projection(inner.down_proj, move=False),
        post_attention_norm=_rms_norm(layer.post_self_attn_layernorm) if has_post_norms else None,
        post_mlp_norm=_rms_norm(layer.post_mlp_layernorm) if has_post_norms else None,
    )


def _rms_norm(module: Any) -> Norm:
    weight, eps = module.weight.detach(), module.variance_epsilon
    shape = tuple(weight.shape)
    return lambda states: functional.rms_norm(states, shape, weight, eps)


def _gpt2(model: Any) -> Decoder | None:
    body, config = model.transformer, model.config
    unsupported = (
        config.add_cross_attention,
        config.reorder_and_upcast_attn,
        config.scale_attn_by_inverse_layer_idx,
    )
    if any(unsupported):
        return None
    shape = _multi_head_shape(config.n_head, config.n_embd, body.h[0].attn.scaling)
    blocks = [
        DecoderBlock(
            attention_norm=forward_of(block.ln_1),
            qkv_proj=forward_of(block.attn.c_attn),
            head_norm=None,
            output_proj=forward_of(block.attn.c_proj),
            mlp_norm=forward_of(block.ln_2),
            up_proj=forward_of(block.mlp.c_fc),
            activation=forward_of(block.mlp.act),
            down_proj=forward_of(block.mlp.c_proj),
        )
        for block in body.h
    ]
    token_table, position_table = forward_of(body.wte), forward_of(body.wpe)
    return Decoder(
        shape,
        lambda ids, positions: token_table(ids) + position_table(positions),
        None,
        blocks,
        forward_of(body.ln_f),
        projection(model.lm_head, move=False),
        body.ln_f.weight.detach(),
    )


def _multi_head_shape(heads: int, size: int, scale: float, rotary_dim: int = 0) -> DecoderShape:
    """Return the configuration of an older decoder, with ``rotary_dim`` rotated elements a head."""
    return DecoderShape(
        heads=heads,
        key_heads=heads,
        head_dim=size // heads,
        scale=scale,
        rotary="pairs" if rotary_dim else None,
        rotary_dim=rotary_dim,
        norm_eps=0.0,
        gated=False,
    )


def fused_qkv_block(layer: Any, attention: Any, heads: int) -> DecoderBlock:
    """Return a block of BLOOM or ChatGLM-6B, whose weight has each head's query, key and value."""
    return DecoderBlock(
        attention_norm=forward_of(layer.input_layernorm),
        qkv_proj=split_heads(projection(attention.query_key_value, move=False), heads),
        head_norm=None,
        output_proj=projection(attention.dense, move=False),
        mlp_norm=forward_of(layer.post_attention_layernorm),
        up_proj=projection(layer.mlp.dense_h_to_4h, move=False),
        activation=lambda states: functional.gelu(states, approximate="tanh"),
        down_proj=projection(layer.mlp.dense_4h_to_h, move=False),
    )


def _bloom(model: Any) -> Decoder | None:
    body, config = model.transformer, model.config
    in_slices = config.slow_but_exact and config.pretraining_tp > 1
    if config.apply_residual_connection_post_layernorm or in_slices:
        return None
    heads = config.n_head
    blocks = [fused_qkv_block(block, block.self_attention, heads) for block in body.h]
    tokens, norm = forward_of(body.word_embeddings), forward_of(body.word_embeddings_layernorm)
    return Decoder(
        _multi_head_shape(heads, config.hidden_size, body.h[0].self_attention.inv_norm_factor),
        lambda ids, _: norm(tokens(ids)),
        None,
        blocks,
        forward_of(body.ln_f),
        projection(model.lm_head, move=False),
        body.ln_f.weight.detach(),
        alibi_slopes(heads),
    )


def _codegen(model: Any) -> Decoder | None:
    """Build MOSS's decoder: parallel attention and MLP, with GPT-J's rotary positions."""
    body, config = model.transformer, model.config
    if config.rotary_dim is None:
        return None
    first = body.h[0].attn
    blocks = [
        DecoderBlock(
            attention_norm=forward_of(block.ln_1),
            qkv_proj=split_heads(
                projection(block.attn.qkv_proj, move=False), first.mp_num, (0, 2, 1)
            ),
            head_norm=None,
            output_proj=projection(block.attn.out_proj, move=False),
            mlp_norm=None,
            up_proj=projection(block.mlp.fc_in, move=False),
            activation=forward_of(block.mlp.act),
            down_proj=projection(block.mlp.fc_out, move=False),
        )
        for block in body.h
    ]
    tokens, table = forward_of(body.wte), body.rotary_emb.embed_positions

    def angles(positions: Tensor) -> tuple[Tensor, Tensor]:
        sines, cosines = table[positions].chunk(2, dim=-1)
        return cosines, sines

    return Decoder(
        _multi_head_shape(config.n_head, config.n_embd, first.scaling, config.rotary_dim),
        lambda ids, _: tokens(ids),
        angles,
        blocks,
        forward_of(body.ln_f),
        projection(model.lm_head, move=False),
        body.ln_f.weight.detach(),
    )


def split_heads(
    qkv_proj: Projection, groups: int, order: tuple[int, int, int] = (0, 1, 2)
) -> Projection:
    """Return a projection that reorders a fused one to all queries, all keys, all values.

    Args:
        joint: gives ``groups`` times three parts; ``order`` says which are queries, keys, values.
    """

    def split(states: Tensor) -> Tensor:
        parts = qkv_proj(states).view(states.shape[0], groups, 3, -1)
        return torch.cat([parts[:, :, part].flatten(1) for part in order], dim=-1)

    return split


def alibi_slopes(heads: int) -> Tensor:
    """Return ALiBi's slopes, ``[heads]`` float32, as in the code of arXiv:2108.12409.

    They are a geometric series from 2^(-8 / n) on, where n is the largest power of two up to
    ``heads``, followed by every other slope of the series for 2n.
    """
    whole = 1 << (heads.bit_length() - 1)
    steps = [8 / whole * (index + 1) for index in range(whole)]
    steps += [4 / whole * (2 * index + 1) for index in range(heads - whole)]
    return torch.tensor([2.0**-step for step in steps])
