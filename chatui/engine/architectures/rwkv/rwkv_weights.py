"""From the tensors of a checkpoint to the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from chatui.engine.architectures.rwkv.checkpoint import RwkvSize
from chatui.engine.architectures.rwkv.rwkv_modeling import Rwkv4, RwkvBlock, layer_norm

HALVE_EVERY = 6
"""Blocks after which float16 activations are halved, as in the `rwkv` package."""


def build_network(
    size: RwkvSize, read: Callable[[str], Tensor], dtype: torch.dtype, device: torch.device
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

    def block(layer: int) -> RwkvBlock:
        share = 2 ** (layer // halve_every) if halve_every else 1
        weights = {}
        for name, shape in size.of_block().items():
            exact = name in ("att.time_decay", "att.time_first")
            weight = read(f"blocks.{layer}.{name}").reshape(shape)
            weight = weight.to(device=device, dtype=torch.float32 if exact else dtype)
            if name == "att.time_decay":
                weight = -torch.exp(weight)
            if share > 1 and name in ("att.output.weight", "ffn.value.weight"):
                weight = weight / share
            weights[name] = weight
        return weights

    def other(name: str) -> Tensor:
        return read(name).to(device=device, dtype=dtype)

    table = layer_norm(
        read("emb.weight"),
        read("blocks.0.ln0.weight").reshape(-1),
        read("blocks.0.ln0.bias").reshape(-1),
    )
    return Rwkv4(
        size=size,
        embedding=table.to(device=device, dtype=dtype),
        blocks=tuple(block(layer) for layer in range(size.layers)),
        norm=(other("ln_out.weight"), other("ln_out.bias")),
        head=other("head.weight"),
        halve_every=halve_every,
    )


def all_weights(network: Rwkv4) -> list[Tensor]:
    """All weights."""
    blocks = (weight for block in network.blocks for weight in block.values())
    return [network.embedding, network.head, *network.norm, *blocks]
