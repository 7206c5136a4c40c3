"""Modules whose weights are packed, in place of a network's linears and embeddings.

They stay instances of the classes that adapters look for, and what else belongs to a module stays
with it. A weight that an adapter brings, in floating point, is used as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from chatui.catalog.memory_need import MemoryNeed
from chatui.engine import int8_weight, packed
from chatui.engine.int8_weight import Int8Weight

MORE_BITS = 8
"""Of embedding and head, whose rows are not averaged over anything, and of ``OUTPUTS``."""

OUTPUTS = ("v_proj", "down_proj", "c_proj", "dense", "dense_4h_to_h", "out_proj", "fc_out")
"""Linears whose products come into the states: every later layer reads what they lose. Where values
have no linear of their own, what they become on the way out of attention."""

READ_BY_OTHERS = ("dt_proj",)
"""Linears whose weight the module around them multiplies by itself (Mamba's steps of time)."""

PLAIN_HEADS = ("mamba", "mamba2", "falcon_mamba", "xlstm")
"""Model types that turn the states into the dtype of the head's weight, which may be tied."""


class QuantisedLinear(nn.Linear):
    """``nn.Linear`` with a packed weight, uint8 [blocks, in, row], or with ``codes``."""

    int8_weight: Int8Weight | None = None

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.is_floating_point():
            return super().forward(input)
        output = _product(self, input, self.out_features)
        return output if self.bias is None else output + self.bias


class QuantisedConv1D(Conv1D):  # type: ignore[misc]
    """GPT-2's linear layer with a packed weight, uint8 [blocks, in, row], or with ``codes``."""

    int8_weight: Int8Weight | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.is_floating_point():
            plain: Tensor = super().forward(x)
            return plain
        output: Tensor = _product(self, x, self.nf) + self.bias
        return output


class QuantisedEmbedding(nn.Embedding):
    """``nn.Embedding`` with a packed weight; ``dtype`` is its output's.

    Some architectures multiply by an ``embed_scale``, in a class of their own (Gemma 3).
    """

    dtype: torch.dtype

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.is_floating_point():
            rows = nn.Embedding.forward(self, input)
        else:
            rows = packed.embedding_rows(self.weight, input.reshape(-1)).to(self.dtype)
            rows = rows.view(*input.shape, self.embedding_dim)
        scale = getattr(self, "embed_scale", None)
        return rows if scale is None else rows * torch.as_tensor(scale).to(rows)


def _product(module: Any, states: Tensor, outputs: int) -> Tensor:
    if module.int8_weight is not None:
        return int8_weight.products(states, [module.int8_weight])
    return packed.product(states, module.weight, outputs)


_OURS = (QuantisedLinear, QuantisedConv1D, QuantisedEmbedding)


def shape_of(module: Any) -> tuple[int, int]:
    """Outputs and inputs of a module that can be quantised; an embedding's tokens are outputs."""
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    if isinstance(module, Conv1D):
        return module.nf, module.nx
    return module.out_features, module.in_features


def is_packed(module: Any) -> bool:
    return isinstance(module, _OURS) and not module.weight.is_floating_point()


def quantisable_modules(network: Any, bits: int) -> Iterator[tuple[str, Any, int]]:
    """The modules that are packed in ``bits``: name, module and their own number of bits.

    All linears but those with fewer outputs than a block, such as routers of experts, and those
    that are not called; and the embedding of the tokens.
    """
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    plain = (embedding, head) if network.config.model_type in PLAIN_HEADS else ()
    for name, module in network.named_modules():
        if module in plain:
            continue
        leaf = name.rpartition(".")[2]
        if module is embedding and (type(module) is nn.Embedding or hasattr(module, "embed_scale")):
            yield name, module, MORE_BITS
        elif type(module) in (nn.Linear, Conv1D) and (
            module is head
            or (shape_of(module)[0] >= packed.BLOCK_OUTPUTS[bits] and leaf not in READ_BY_OTHERS)
        ):
            more = module is head or leaf in OUTPUTS
            yield name, module, MORE_BITS if more else bits


def quantised_needs(network: Any, need: MemoryNeed) -> dict[int, MemoryNeed]:
    """What a model takes with its weights packed, by bits; most bits first.

    Args:
        network: on the meta device.
        need: what it takes as it is.
    """
    found = {}
    for bits in packed.BITS:
        numbers = size = 0
        modules = {
            id(module.weight): (module, own)
            for _, module, own in quantisable_modules(network, bits)
        }
        for module, own in modules.values():
            outputs, inputs = shape_of(module)
            numbers += outputs * inputs
            size += packed.packed_bytes(outputs, inputs, own)
        found[bits] = replace(need, floats=max(0, need.floats - numbers), packed=need.packed + size)
    return found


def make_quantised(module: Any, dtype: torch.dtype) -> None:
    """Turn a linear or an embedding into one that takes a packed weight; its weight stays so far.

    Args:
        module: a linear or an embedding.
        dtype: of an embedding's output.
    """
    if isinstance(module, nn.Embedding):
        module.dtype = dtype  # type: ignore[assignment]
        own = type(module)
        module.__class__ = (
            QuantisedEmbedding
            if own is nn.Embedding
            # What a class of its own is set up with, it still needs.
            else type(own.__name__, (QuantisedEmbedding, own), {})
        )
    else:
        module.__class__ = QuantisedConv1D if isinstance(module, Conv1D) else QuantisedLinear


def pack_weight(module: Any, weight: Tensor, bits: int) -> Tensor:
    """``weight``, as a checkpoint has it, packed for ``module``; empty if ``codes`` hold it now."""
    weight = weight.T if isinstance(module, Conv1D) else weight
    if bits == 8 and not isinstance(module, nn.Embedding) and int8_weight.is_faster(weight):
        module.int8_weight = Int8Weight.quantise(weight)
        return torch.empty(0, dtype=torch.uint8)
    return packed.pack(weight, bits)


def dequantised_weight(module: Any, dtype: torch.dtype) -> Tensor:
    """A module's weight in floating point, in its own layout; unpacked if it is packed."""
    weight: Tensor = module.weight.detach()
    if not is_packed(module):
        return weight
    codes = getattr(module, "int8_weight", None)
    made = (
        packed.unpack(weight)[:, : shape_of(module)[0]] if codes is None else codes.dequantise().T
    )
    return (made if isinstance(module, Conv1D) else made.T).to(dtype).contiguous()


def uses_row_sums(network: Any) -> bool:
    """Whether a linear's weight is packed in rows, which are summed for each vector anew."""
    return any(
        is_packed(module) and getattr(module, "int8_weight", None) is None
        for module in network.modules()
        if not isinstance(module, nn.Embedding)
    )


def weight_bytes(network: Any) -> int:
    """Bytes of the weights; tied ones once."""
    codes = [getattr(module, "int8_weight", None) for module in network.modules()]
    plain = sum(parameter.nbytes for parameter in network.parameters())
    return int(plain + sum(one.nbytes for one in codes if one is not None))


def parameter_count(network: Any) -> int:
    """Numbers in the weights, packed or not; tied ones once."""
    counted = {id(parameter): parameter.numel() for parameter in network.parameters()}
    for module in network.modules():
        if is_packed(module):
            outputs, inputs = shape_of(module)
            counted[id(module.weight)] = outputs * inputs
    return sum(counted.values())
