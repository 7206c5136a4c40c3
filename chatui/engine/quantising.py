"""A quantiser for transformers' loader, which packs each weight as soon as it is read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from chatui.engine.quantised import make_quantised, pack_weight, quantisable_modules

_METHOD = "chatui"


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
