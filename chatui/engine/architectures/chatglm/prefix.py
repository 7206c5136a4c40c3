"""P-Tuning v2 (arXiv:2110.07602): trained keys and values before the first token of every layer.

The layout is that of ChatGLM-6B's own `ptuning` folder: an embedding of
[prefix, layers · 2 · hidden], or one of [prefix, hidden] followed by a two-layer network.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig

if TYPE_CHECKING:
    from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM


class PrefixEncoder(nn.Module):
    """The module that computes the prefix's keys and values.

    Args:
        config: a configuration with `pre_seq_len` > 0.
    """

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        self.length: int = config.pre_seq_len or 0
        self.num_layers: int = config.num_layers
        self.num_heads: int = config.num_attention_heads
        width = config.num_layers * 2 * config.hidden_size
        inner = config.hidden_size if config.prefix_projection else width
        self.embedding = nn.Embedding(self.length, inner)
        self.trans: nn.Sequential | None = None
        if config.prefix_projection:
            self.trans = nn.Sequential(
                nn.Linear(config.hidden_size, config.hidden_size),
                nn.Tanh(),
                nn.Linear(config.hidden_size, width),
            )

    def forward(self, batch_size: int, dtype: torch.dtype) -> Tensor:
        """Return the keys and values of all layers.

        Returns:
            [layers, 2 (key, value), batch, heads, prefix, head_dim] in `dtype`.
        """
        prefix = self.embedding.weight
        if self.trans is not None:
            prefix = self.trans(prefix)
        states = prefix.to(dtype).view(self.length, self.num_layers, 2, self.num_heads, -1)
        states = states.permute(1, 2, 3, 0, 4)
        return states[:, :, None].expand(-1, -1, batch_size, -1, -1, -1)


def empty_prefix_encoder(config: ChatGLMConfig, weights: Mapping[str, Any]) -> PrefixEncoder:
    """Return an encoder on the meta device with the shapes of a trained prefix.

    Args:
        config: the base's configuration; its prefix settings are set to those of ``weights``.
        weights: objects with a ``shape`` by name: "embedding.weight", optionally "trans. …".
    """
    config.pre_seq_len = weights["embedding.weight"].shape[0]
    config.prefix_projection = "trans.0.weight" in weights
    with torch.device("meta"):
        return PrefixEncoder(config)


def install_prefix(model: ChatGLMForCausalLM, weights: Mapping[str, Tensor]) -> None:
    """Install a trained prefix in a loaded model of matching shapes, replacing any other."""
    encoder = empty_prefix_encoder(model.config, weights)
    placed = {name: tensor.to(model.device) for name, tensor in weights.items()}
    encoder.load_state_dict(placed, assign=True)
    model.transformer.prefix_encoder = encoder.requires_grad_(False).train(model.training)
