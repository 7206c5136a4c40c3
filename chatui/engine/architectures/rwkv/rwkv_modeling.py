"""RWKV-4's arithmetic (arXiv:2305.13048, section 3): tokens and a state in, logits and a state out.

All matrix products take a whole chunk of tokens at once; only the sums over time go token by token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from chatui.engine.architectures.rwkv.checkpoint import RwkvSize

EPSILON = 1e-5
_NOTHING_YET = -1e30
"""The exponent of sums that are empty, as in the `rwkv` package."""


@dataclass(frozen=True)
class RwkvState:
    """What the network knows of the tokens it has read; never changed, only replaced.

    Attributes:
        shift: what each block's time mixing and channel mixing saw of the last token,
            ``[layers, 2, width]``, in the weights' dtype.
        sums: of time mixing, ``[layers, 3, attention]`` float32: numerator and denominator (a and
            b in the paper's appendix on stability), both over exp(p), and the exponent p.
    """

    shift: Tensor
    sums: Tensor


RwkvBlock: TypeAlias = Mapping[str, Tensor]
"""Weights of one block by their names in a checkpoint.

Linears are ``[out, in]``, all others vectors. "att.time_decay" holds −exp of the checkpoint's; it
and "att.time_first" are float32.
"""


@dataclass(frozen=True)
class Rwkv4:
    """A network.

    Attributes:
        size: its numbers.
        embedding: ``[vocabulary, width]``, the first layer norm (ln0) applied.
        blocks: from the first to the last.
        norm: weight and bias of the last layer norm.
        head: ``[vocabulary, width]``.
        halve_every: after so many blocks all activations are halved, so that float16 does not
            overflow, and the weights that add to them are scaled likewise; 0 for never.
    """

    size: RwkvSize
    embedding: Tensor
    blocks: tuple[RwkvBlock, ...]
    norm: tuple[Tensor, Tensor]
    head: Tensor
    halve_every: int = 0

    def first_state(self) -> RwkvState:
        """The state before the first token."""
        size, device = self.size, self.head.device
        shift = torch.zeros((size.layers, 2, size.width), dtype=self.head.dtype, device=device)
        sums = torch.zeros((size.layers, 3, size.attention), device=device)
        sums[:, 2] = _NOTHING_YET
        return RwkvState(shift, sums)

    def read(self, ids: Tensor, state: RwkvState) -> tuple[Tensor, RwkvState]:
        """Read tokens ``ids`` ``[n]`` (int64, n ≥ 1) after those that ``state`` stands for.

        Returns the logits after the last, ``[vocabulary]`` float32, and the state then.
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
    """Equations 11 to 18: an average over the past whose weights fade channel by channel.

    Args:
        x: ``[n, width]``.
        before: the last token's normed x, ``[width]``.
        sums: ``[3, attention]``, see :class:`RwkvState`.

    Returns:
        what is added to x, ``[n, width]``; the normed x of the last token; the new sums.
    """
    normed = layer_norm(x, block["ln1.weight"], block["ln1.bias"])
    shifted = torch.cat((before.unsqueeze(0), normed[:-1]))
    receptance = mixed(block, "att.receptance", shifted, normed)
    key = mixed(block, "att.key", shifted, normed).float()
    value = mixed(block, "att.value", shifted, normed).float()
    decay, first = block["att.time_decay"], block["att.time_first"]
    averages, sums = wkv(decay, first, key, value, sums)
    gated = torch.sigmoid(receptance) * averages.to(x.dtype)
    return linear(gated, block["att.output.weight"]), normed[-1], sums


def channel_mixing(block: RwkvBlock, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 19 to 21; arguments and results as those of :func:`time_mixing`."""
    normed = layer_norm(x, block["ln2.weight"], block["ln2.bias"])
    shifted = torch.cat((before.unsqueeze(0), normed[:-1]))
    key = mixed(block, "ffn.key", shifted, normed)
    value = linear(torch.relu(key).square(), block["ffn.value.weight"])
    receptance = mixed(block, "ffn.receptance", shifted, normed)
    return torch.sigmoid(receptance) * value, normed[-1]


def mixed(block: RwkvBlock, name: str, shifted: Tensor, normed: Tensor) -> Tensor:
    """The linear ``name`` of each token mixed with the one before it, ``[n, out]``."""
    part, kind = name.split(".")
    mix = block[f"{part}.time_mix_{kind[0]}"]
    return linear(torch.lerp(shifted, normed, mix), block[f"{name}.weight"])


def wkv(
    decay: Tensor, first: Tensor, key: Tensor, value: Tensor, sums: Tensor
) -> tuple[Tensor, Tensor]:
    """The WKV operator: the average of all values so far, weighted by exp(key) and fading.

    Every exponential is taken relative to the largest exponent so far, so none overflows
    (appendix on numerical stability). All but three operations a token are done at once.

    Args:
        decay, first: ``[attention]``: the exponent's change with each token, and its bonus for
            the newest.
        key, value: ``[n, attention]``.
        sums: ``[3, attention]``, see :class:`RwkvState`.

    Returns:
        averages ``[n, attention]`` and the new sums; all float32.
    """
    count = key.shape[0]
    peaks = torch.empty((count + 1, key.shape[1]), device=key.device)
    peaks[0] = sums[2]
    rows, keys = peaks.unbind(), key.unbind()
    for place in range(count):
        torch.maximum(rows[place] + decay, keys[place], out=rows[place + 1])
    fading = torch.exp(peaks[:-1] + decay - peaks[1:])
    gain = torch.exp(key - peaks[1:])
    gains = torch.stack((gain * value, gain), 1)
    totals = torch.empty((count + 1, 2, key.shape[1]), device=key.device)
    totals[0] = sums[:2]
    sums_at, gains_at, fading_at = totals.unbind(), gains.unbind(), fading.unbind()
    for place in range(count):
        torch.addcmul(gains_at[place], sums_at[place], fading_at[place], out=sums_at[place + 1])
    with_bonus = first + key
    top = torch.maximum(peaks[:-1], with_bonus)
    past, newest = torch.exp(peaks[:-1] - top), torch.exp(with_bonus - top)
    averages = (past * totals[:-1, 0] + newest * value) / (past * totals[:-1, 1] + newest)
    return averages, torch.cat((totals[-1], peaks[-1:]))


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Over the last dimension."""
    return functional.layer_norm(x, x.shape[-1:], weight, bias, EPSILON)


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """``x`` ``[n, in]`` times ``weight`` ``[out, in]``, one token as a vector: CPUs like that."""
    if x.shape[0] == 1:
        return functional.linear(x[0], weight).unsqueeze(0)
    return functional.linear(x, weight)
