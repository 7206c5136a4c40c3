"""Linear layers and embeddings with packed weights, and the quantiser that makes them.

transformers' loader packs each weight as soon as it is read. The network's modules get these
classes in place, which are subclasses of those that adapters look for.
If an adapter replaces a packed weight by a floating point one, that is used without packing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from chatui.catalog.memory_need import MemoryNeed
from chatui.engine import int8_weight, packed, packed_product
from chatui.engine.int8_weight import Int8Weight

SENSITIVE_BITS = 8
"""Bits of the embedding, the head and ``SENSITIVE_LINEARS``."""

SENSITIVE_LINEARS = (
    "v_proj",
    "down_proj",
    "c_proj",
    "dense",
    "dense_4h_to_h",
    "out_proj",
    "fc_out",
)
"""Linear layers packed in ``SENSITIVE_BITS``: those whose outputs are added to the states, so that
errors reach all later layers, and the projection of attention's values."""

UNCALLED_LINEARS = ("dt_proj",)
"""Linear layers whose weight is read by another module instead of being called (Mamba)."""

PLAIN_HEAD_MODELS = ("mamba", "mamba2", "falcon_mamba", "xlstm")
"""Model types that cast the states to the dtype of the head's weight, so it must not be packed."""

_METHOD = "chatui"


class PackedProduct:
    """A linear layer's forward with a packed weight, uint8 [blocks, in, row], or an ``Int8Weight``.

    Attributes:
        int8_weight: replaces the weight, which is then empty; None if the weight is used.
    """

    int8_weight: Int8Weight | None = None
    weight: Any
    bias: Any
    _parameters: Any

    def forward(self, states: Tensor) -> Tensor:
        output: Tensor
        if self.weight.is_floating_point():
            output = super().forward(states)  # type: ignore[misc]
            return output
        if self.int8_weight is not None:
            output = int8_weight.products(states, [self.int8_weight])
        else:
            scale = self._parameters.get("weight_scale")
            output = packed_product.product(states, self.weight, shape_of(self)[0], scale)
        return output if self.bias is None else output + self.bias.to(output.dtype)


class QuantisedLinear(PackedProduct, nn.Linear):
    """An ``nn.Linear`` with a packed weight."""


class QuantisedConv1D(PackedProduct, Conv1D):  # type: ignore[misc]
    """GPT-2's linear layer with a packed weight."""


class QuantisedEmbedding(nn.Embedding):
    """An ``nn.Embedding`` with a packed weight; ``dtype`` is the dtype of its output.

    Embeddings with an ``embed_scale`` (Gemma 3) multiply by it.
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


def shape_of(module: Any) -> tuple[int, int]:
    """Return the outputs and inputs of a linear layer, or the tokens and width of an embedding."""
    if isinstance(module, nn.Embedding):
        return module.num_embeddings, module.embedding_dim
    if isinstance(module, Conv1D):
        return module.nf, module.nx
    return module.out_features, module.in_features


def is_packed(module: Any) -> bool:
    kinds = (PackedProduct, QuantisedEmbedding)
    return isinstance(module, kinds) and not module.weight.is_floating_point()


def quantisable_modules(network: Any, bits: int) -> Iterator[tuple[str, Any, int]]:
    """Yield the modules to pack: name, module, and bits, which may be more than ``bits``.

    These are the token embedding and all linear layers, except small ones (fewer outputs than a
    block, such as routers of experts) and ``UNCALLED_LINEARS``.
    """
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    plain = (embedding, head) if network.config.model_type in PLAIN_HEAD_MODELS else ()
    for name, module in network.named_modules():
        if module in plain:
            continue
        leaf = name.rpartition(".")[2]
        if module is embedding and (type(module) is nn.Embedding or hasattr(module, "embed_scale")):
            yield name, module, SENSITIVE_BITS
        elif type(module) in (nn.Linear, Conv1D) and (
            module is head
            or (shape_of(module)[0] >= packed.BLOCK_OUTPUTS[bits] and leaf not in UNCALLED_LINEARS)
        ):
            more = module is head or leaf in SENSITIVE_LINEARS
            yield name, module, SENSITIVE_BITS if more else bits


def quantised_needs(network: Any, need: MemoryNeed) -> dict[int, MemoryNeed]:
    """Return the memory that a model needs with packed weights, by bits, the most bits first.

    Args:
        network: the network on the meta device.
        need: the memory that it needs without packing.
    """
    needs = {}
    for bits in packed.BITS:
        numbers = size = 0
        modules = {
            id(module.weight): (module, module_bits)
            for _, module, module_bits in quantisable_modules(network, bits)
        }
        for module, module_bits in modules.values():
            outputs, inputs = shape_of(module)
            numbers += outputs * inputs
            size += packed.packed_bytes(outputs, inputs, module_bits)
        needs[bits] = replace(need, floats=max(0, need.floats - numbers), packed=need.packed + size)
    return needs


def make_quantised(module: Any, dtype: torch.dtype) -> None:
    """Change a module's class to one that supports a packed weight; its weight is unchanged.

    Args:
        module: a linear layer or an embedding.
        dtype: dtype of an embedding's output.
    """
    if isinstance(module, nn.Embedding):
        module.dtype = dtype  # type: ignore[assignment]
        original = type(module)
        module.__class__ = (
            QuantisedEmbedding
            if original is nn.Embedding
            # A subclass of nn.Embedding may need its own attributes and methods.
            else type(original.__name__, (QuantisedEmbedding, original), {})
        )
    else:
        module.__class__ = QuantisedConv1D if isinstance(module, Conv1D) else QuantisedLinear


def pack_weight(module: Any, weight: Tensor, bits: int) -> Tensor:
    """Pack a checkpoint's weight for ``module``.

    Returns:
        The packed weight, or an empty tensor if ``module.int8_weight`` now holds it.
    """
    weight = weight.T if isinstance(module, Conv1D) else weight
    if bits == 8 and not isinstance(module, nn.Embedding) and int8_weight.is_faster(weight):
        module.int8_weight = Int8Weight.quantise(weight)
        return torch.empty(0, dtype=torch.uint8)
    return packed.pack(weight, bits)


def dequantised_weight(module: Any, dtype: torch.dtype) -> Tensor:
    """Return a module's weight in its original layout, dequantised to ``dtype`` if it is packed."""
    weight: Tensor = module.weight.detach()
    if not is_packed(module):
        return weight
    if (codes := getattr(module, "int8_weight", None)) is None:
        weight = packed.unpack(weight)[:, : shape_of(module)[0]].T
    else:
        weight = codes.dequantise()
    return (weight.T if isinstance(module, Conv1D) else weight).to(dtype).contiguous()


def uses_row_sums(network: Any) -> bool:
    """True if a linear layer's weight is packed in rows, which are read again for each vector."""
    return any(
        is_packed(module) and getattr(module, "int8_weight", None) is None
        for module in network.modules()
        if not isinstance(module, nn.Embedding)
    )


def weight_bytes(network: Any) -> int:
    """Return the size of the weights in bytes; tied ones count once."""
    codes = [getattr(module, "int8_weight", None) for module in network.modules()]
    plain = sum(parameter.nbytes for parameter in network.parameters())
    return int(plain + sum(one.nbytes for one in codes if one is not None))


def parameter_count(network: Any) -> int:
    """Return the number of parameters, packed or not; tied ones count once."""
    counted = {id(parameter): parameter.numel() for parameter in network.parameters()}
    for module in network.modules():
        if is_packed(module):
            outputs, inputs = shape_of(module)
            counted[id(module.weight)] = outputs * inputs
    return sum(counted.values())


@register_quantization_config(_METHOD)
class QuantisationConfig(QuantizationConfigMixin):  # type: ignore[misc]
    """The ``quantization_config`` for ``from_pretrained``.

    Args:
        bits: 8 or 4.
        dtype: dtype of the activations.
    """

    def __init__(self, bits: int, dtype: torch.dtype) -> None:
        self.quant_method = _METHOD
        self.bits = bits
        self.dtype = dtype


@register_quantizer(_METHOD)
class Quantiser(HfQuantizer):  # type: ignore[misc]
    """A quantiser that packs the weights of linear layers and embeddings one by one."""

    def _process_model_before_weight_loading(self, model: Any, **_: Any) -> None:
        config = self.quantization_config
        self.modules: dict[str, tuple[Any, int]] = {}
        for name, module, bits in list(quantisable_modules(model, config.bits)):
            make_quantised(module, config.dtype)
            self.modules[f"{name}.weight"] = module, bits

    def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
        return param_name in self.modules

    def get_quantize_ops(self) -> ConversionOps:
        return _PackWeight(self.modules)

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> None:
        self.remove_quantization_config(model)

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


class _PackWeight(ConversionOps):  # type: ignore[misc]
    """The loader's operation that packs a weight, given in the activations' dtype on its device."""

    def __init__(self, modules: dict[str, tuple[Any, int]]) -> None:
        self._modules = modules

    def convert(
        self, input_dict: dict[str, list[Tensor] | Tensor], *, full_layer_name: str, **_: Any
    ) -> dict[str, Tensor]:
        (value,) = input_dict.values()
        weight = value[0] if isinstance(value, list) else value
        module, bits = self._modules[full_layer_name]
        if weight.shape != module.weight.shape:
            # The loader reports a wrong shape of a weight that is not quantised.
            del self._modules[full_layer_name]
            return {full_layer_name: weight}
        packed = pack_weight(module, weight, bits)
        return {full_layer_name: nn.Parameter(packed, requires_grad=False)}
