"""Build the network from a checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from chatui.engine.architectures.rwkv.checkpoint import RwkvSize
from chatui.engine.architectures.rwkv.rwkv_modeling import Rwkv4, RwkvBlock, layer_norm

HALVE_EVERY = 6
"""Number of blocks after which float16 activations are halved, as in the `rwkv` package."""


def build_network(
    size: RwkvSize, read: Callable[[str], Tensor], dtype: torch.dtype, device: torch.device
) -> Rwkv4:
    """Build the network.

    The layer norm ln0 is applied to the embedding here, in the checkpoint's dtype and before the
    conversion, as in the `rwkv` package (model.py, "precompute embedding"). In bfloat16 the other
    order changes the logits.

    Args:
        size: the network's dimensions.
        read: returns a tensor as stored in the file, on the CPU, by BlinkDL's name.
        dtype: dtype of weights and activations; the weights of the sums over time are float32.
        device: device of all weights.
    """
    halve_every = HALVE_EVERY if dtype == torch.float16 else 0

    def block(layer: int) -> RwkvBlock:
        divisor = 2 ** (layer // halve_every) if halve_every else 1
        weights = {}
        for name, shape in size.block_shapes().items():
            in_float32 = name in ("att.time_decay", "att.time_first")
            weight = read(f"blocks.{layer}.{name}").reshape(shape)
            weight = weight.to(device=device, dtype=torch.float32 if in_float32 else dtype)
            if name == "att.time_decay":
                weight = -torch.exp(weight)
            if divisor > 1 and name in ("att.output.weight", "ffn.value.weight"):
                weight = weight / divisor
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
    """Return all weights of a network."""
    blocks = (weight for block in network.blocks for weight in block.values())
    return [network.embedding, network.head, *network.norm, *blocks]
