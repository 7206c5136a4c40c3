"""From the tensors of a checkpoint to the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine.architectures.rwkv.checkpoint import Size
from chatui.engine.architectures.rwkv.rwkv_modeling import EPSILON, Rwkv4, RwkvBlock

HALVE_EVERY = 6
"""Blocks after which float16 activations are halved, as in the `rwkv` package."""


def build(
    size: Size, read: Callable[[str], Tensor], dtype: torch.dtype, device: torch.device
) -> Rwkv4:
    """The network with its weights.

    The embedding table goes through its layer norm (ln0) here, once, in the checkpoint's own
    dtype, and is only then converted, as the `rwkv` package does it (model.py, "precompute
    embedding"): in bfloat16 the rounding shows in the logits.

    Args:
        size: the network's.
        read: gives a tensor by BlinkDL's name for it, on the CPU, as it is in the file.
        dtype: of weights and activations; what the sums over time need is float32 all the same.
        device: of all weights.
    """
    halve_every = HALVE_EVERY if dtype == torch.float16 else 0

    def vector(name: str, kind: torch.dtype = dtype) -> Tensor:
        return read(name).reshape(-1).to(device=device, dtype=kind)

    def matrix(name: str) -> Tensor:
        return read(name).to(device=device, dtype=dtype)

    def norm(name: str) -> tuple[Tensor, Tensor]:
        return vector(f"{name}.weight"), vector(f"{name}.bias")

    def block(layer: int) -> RwkvBlock:
        at = f"blocks.{layer}"
        share = 2 ** (layer // halve_every) if halve_every else 1

        def scaled(name: str) -> Tensor:
            return matrix(name) if share == 1 else matrix(name) / share

        return RwkvBlock(
            norm1=norm(f"{at}.ln1"),
            mix_key=vector(f"{at}.att.time_mix_k"),
            mix_value=vector(f"{at}.att.time_mix_v"),
            mix_receptance=vector(f"{at}.att.time_mix_r"),
            decay=-torch.exp(vector(f"{at}.att.time_decay", torch.float32)),
            first=vector(f"{at}.att.time_first", torch.float32),
            key=matrix(f"{at}.att.key.weight"),
            value=matrix(f"{at}.att.value.weight"),
            receptance=matrix(f"{at}.att.receptance.weight"),
            output=scaled(f"{at}.att.output.weight"),
            norm2=norm(f"{at}.ln2"),
            channel_mix_key=vector(f"{at}.ffn.time_mix_k"),
            channel_mix_receptance=vector(f"{at}.ffn.time_mix_r"),
            channel_key=matrix(f"{at}.ffn.key.weight"),
            channel_receptance=matrix(f"{at}.ffn.receptance.weight"),
            channel_value=scaled(f"{at}.ffn.value.weight"),
        )

    table = functional.layer_norm(
        read("emb.weight"),
        (size.width,),
        read("blocks.0.ln0.weight").reshape(-1),
        read("blocks.0.ln0.bias").reshape(-1),
        EPSILON,
    )
    return Rwkv4(
        size=size,
        embedding=table.to(device=device, dtype=dtype),
        blocks=tuple(block(layer) for layer in range(size.layers)),
        norm=norm("ln_out"),
        head=matrix("head.weight"),
        halve_every=halve_every,
    )


def tensors_of(network: Rwkv4) -> list[Tensor]:
    """All weights."""
    found = [network.embedding, network.head, *network.norm]
    for block in network.blocks:
        for value in vars(block).values():
            found.extend(value if isinstance(value, tuple) else (value,))
    return found
