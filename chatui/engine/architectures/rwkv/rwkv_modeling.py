"""RWKV-4's network (arXiv:2305.13048, section 3), from tokens and a state to the next state.

Matrix products take a whole chunk of tokens; only the sums over time are computed token by token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine.architectures.rwkv.checkpoint import RwkvSize

EPSILON = 1e-5
HALVE_EVERY = 6
"""Number of blocks after which float16 activations are halved, as in the `rwkv` package."""
_EMPTY_EXPONENT = -1e30
"""Exponent of empty sums, as in the `rwkv` package."""


@dataclass(frozen=True)
class RwkvState:
    """The recurrent state after some tokens; immutable.

    Attributes:
        shift: inputs of each block's time mixing and channel mixing for the last token,
            ``[layers, 2, width]``, in the weights' dtype.
        sums: state of time mixing, ``[layers, 3, attention]`` float32: numerator and denominator (a
            and b in the paper's appendix on stability), both divided by exp(p), and the exponent p.
    """

    shift: Tensor
    sums: Tensor


RwkvBlock: TypeAlias = Mapping[str, Tensor]
"""Weights of one block, by their names in a checkpoint.

Linear weights are ``[out, in]``, all others are vectors. "att.time_decay" holds −exp of the
checkpoint's values; it and "att.time_first" are float32.
"""


@dataclass(frozen=True)
class Rwkv4:
    """An RWKV-4 network with its weights.

    Attributes:
        size: its dimensions.
        embedding: ``[vocabulary, width]``, after the first layer norm (ln0).
        blocks: weights of the blocks, in order.
        norm: weight and bias of the last layer norm.
        head: ``[vocabulary, width]``.
        halve_every: number of blocks after which all activations are halved, so that float16 does
            not overflow; the weights added to them are scaled alike. 0 for never.
    """

    size: RwkvSize
    embedding: Tensor
    blocks: tuple[RwkvBlock, ...]
    norm: tuple[Tensor, Tensor]
    head: Tensor
    halve_every: int = 0

    @property
    def weights(self) -> list[Tensor]:
        """All weights."""
        blocks = (weight for block in self.blocks for weight in block.values())
        return [self.embedding, self.head, *self.norm, *blocks]

    def first_state(self) -> RwkvState:
        """Return the state before the first token."""
        size, device = self.size, self.head.device
        shift = torch.zeros((size.layers, 2, size.width), dtype=self.head.dtype, device=device)
        sums = torch.zeros((size.layers, 3, size.attention), device=device)
        sums[:, 2] = _EMPTY_EXPONENT
        return RwkvState(shift, sums)

    def read(self, ids: Tensor, state: RwkvState) -> tuple[Tensor, RwkvState]:
        """Read the tokens ``ids``, int64 ``[n]`` with n ≥ 1, from ``state`` on.

        Returns:
            The logits after the last token, ``[vocabulary]`` float32, and the new state.
        """
        x = self.embedding[ids]
        shift, sums = [], []
        for layer, block in enumerate(self.blocks):
            added, seen, totals = time_mixing(block, x, state.shift[layer, 0], state.sums[layer])
            x = x + added
            added, also_seen = channel_mixing(block, x, state.shift[layer, 1])
            x = x + added
            if self.halve_every and (layer + 1) % self.halve_every == 0:
                x = x / 2
            shift.append(torch.stack((seen, also_seen)))
            sums.append(totals)
        last = layer_norm(x[-1], *self.norm)
        logits = functional.linear(last, self.head).float()
        return logits, RwkvState(torch.stack(shift), torch.stack(sums))


def time_mixing(
    block: RwkvBlock, x: Tensor, before: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Apply equations 11 to 18: an average over past tokens with a decay for each channel.

    Args:
        x: ``[n, width]``.
        before: the normed x of the token before, ``[width]``.
        sums: ``[3, attention]``, see :class:`RwkvState`.

    Returns:
        The output to add to x, ``[n, width]``; the normed x of the last token; the new sums.
    """
    normed = layer_norm(x, block["ln1.weight"], block["ln1.bias"])
    shifted = torch.cat((before.unsqueeze(0), normed[:-1]))
    receptance = mixed_linear(block, "att.receptance", shifted, normed)
    key = mixed_linear(block, "att.key", shifted, normed).float()
    value = mixed_linear(block, "att.value", shifted, normed).float()
    decay, first = block["att.time_decay"], block["att.time_first"]
    averages, sums = wkv(decay, first, key, value, sums)
    gated = torch.sigmoid(receptance) * averages.to(x.dtype)
    return linear(gated, block["att.output.weight"]), normed[-1], sums


def channel_mixing(block: RwkvBlock, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Apply equations 19 to 21; for arguments and results see :func:`time_mixing`."""
    normed = layer_norm(x, block["ln2.weight"], block["ln2.bias"])
    shifted = torch.cat((before.unsqueeze(0), normed[:-1]))
    key = mixed_linear(block, "ffn.key", shifted, normed)
    value = linear(torch.relu(key).square(), block["ffn.value.weight"])
    receptance = mixed_linear(block, "ffn.receptance", shifted, normed)
    return torch.sigmoid(receptance) * value, normed[-1]


def mixed_linear(block: RwkvBlock, name: str, shifted: Tensor, normed: Tensor) -> Tensor:
    """Mix each token with the one before it and apply the linear layer ``name``: ``[n, out]``."""
    part, kind = name.split(".")
    mix = block[f"{part}.time_mix_{kind[0]}"]
    return linear(torch.lerp(shifted, normed, mix), block[f"{name}.weight"])


def wkv(
    decay: Tensor, first: Tensor, key: Tensor, value: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute the WKV operator: the average of all values so far, weighted by exp(key) and decay.

    Exponentials are relative to the largest exponent so far, so none overflows (appendix on
    numerical stability). Only three operations run token by token.

    Args:
        decay, first: ``[attention]``: the exponent's change with each token, and the bonus of the
            newest token.
        key, value: ``[n, attention]``.
        sums: ``[3, attention]``, see :class:`RwkvState`.

    Returns:
        The averages ``[n, attention]`` and the new sums, all float32.
    """
    count = key.shape[0]
    peaks = torch.empty((count + 1, key.shape[1]), device=key.device)
    peaks[0] = sums[2]
    rows, keys = peaks.unbind(), key.unbind()
    for index in range(count):
        torch.maximum(rows[index] + decay, keys[index], out=rows[index + 1])
    fading = torch.exp(peaks[:-1] + decay - peaks[1:])
    gain = torch.exp(key - peaks[1:])
    gains = torch.stack((gain * value, gain), 1)
    totals = torch.empty((count + 1, 2, key.shape[1]), device=key.device)
    totals[0] = sums[:2]
    sums_at, gains_at, fading_at = totals.unbind(), gains.unbind(), fading.unbind()
    for index in range(count):
        torch.addcmul(gains_at[index], sums_at[index], fading_at[index], out=sums_at[index + 1])
    with_bonus = first + key
    top = torch.maximum(peaks[:-1], with_bonus)
    past, newest = torch.exp(peaks[:-1] - top), torch.exp(with_bonus - top)
    averages = (past * totals[:-1, 0] + newest * value) / (past * totals[:-1, 1] + newest)
    return averages, torch.cat((totals[-1], peaks[-1:]))


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Normalise the last dimension."""
    return functional.layer_norm(x, x.shape[-1:], weight, bias, EPSILON)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Multiply ``x`` ``[n, in]`` by ``weight`` ``[out, in]``; one token as a vector, for speed."""
    if x.shape[0] == 1:
        return functional.linear(x[0], weight).unsqueeze(0)
    return functional.linear(x, weight)


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
