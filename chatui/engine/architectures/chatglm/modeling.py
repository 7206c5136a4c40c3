"""ChatGLM-6B's network for current versions of transformers.

The residual of a block is taken from the layer norm's output:
    a = LN1(h);  h' = α·a + Attention(a);  m = LN2(h');  h'' = α·m + MLP(m).
(GLM-130B, arXiv:2210.02414, and the repository THUDM/chatglm-6b, modeling_chatglm.py.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutput

from chatui.engine.architectures.chatglm.attention import (
    ChatGLMAttention,
    prompt_mask,
    prompt_position_ids,
    rotary_table,
)
from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
from chatui.engine.architectures.chatglm.quantisation import ChatGLMQuantisedLinear, make_linear

# sqrt(2 · layers); the original always uses its 28 layers, and ignores the configuration.
RESIDUAL_SCALE = 56**0.5
GUARD_SCORE = 5e4


class ChatGLMMLP(nn.Module):
    """Two linear layers with the tanh approximation of GELU between them."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        size, inner, bits = config.hidden_size, config.inner_hidden_size, config.quantization_bit
        self.dense_h_to_4h = make_linear(size, inner, bits)
        self.dense_4h_to_h = make_linear(inner, size, bits)

    def forward(self, states: Tensor) -> Tensor:
        inner = functional.gelu(self.dense_h_to_4h(states), approximate="tanh")
        output: Tensor = self.dense_4h_to_h(inner)
        return output


class ChatGLMBlock(nn.Module):
    """Attention and MLP, each with a scaled residual from its layer norm."""

    def __init__(self, config: ChatGLMConfig, layer_index: int) -> None:
        super().__init__()
        size, epsilon = config.hidden_size, config.layernorm_epsilon
        self.input_layernorm = nn.LayerNorm(size, eps=epsilon)
        self.attention = ChatGLMAttention(config, layer_index)
        self.post_attention_layernorm = nn.LayerNorm(size, eps=epsilon)
        self.mlp = ChatGLMMLP(config)

    def forward(
        self, states: Tensor, masked: Tensor | None, rotary: Tensor, cache: Cache | None = None
    ) -> Tensor:
        residual = self.input_layernorm(states)
        states = RESIDUAL_SCALE * residual + self.attention(residual, masked, rotary, cache)
        residual = self.post_attention_layernorm(states)
        output: Tensor = RESIDUAL_SCALE * residual + self.mlp(residual)
        return output


class PrefixEncoder(nn.Module):
    """P-Tuning v2 (arXiv:2110.07602): trained keys and values before the first token of each layer.

    The layout is that of ChatGLM-6B's own `ptuning` folder: an embedding of
    [prefix, layers · 2 · hidden], or one of [prefix, hidden] followed by a two-layer network.

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


class ChatGLMPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """Class attributes with which transformers loads ChatGLM-6B and places it on devices."""

    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    _input_embed_layer = "word_embeddings"
    _no_split_modules = ["ChatGLMBlock"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"rotary_emb\.inv_freq"]  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ChatGLMQuantisedLinear):
            for parameter in module.parameters(recurse=False):
                init.zeros_(parameter)
        else:
            super()._init_weights(module)


class ChatGLMModel(ChatGLMPreTrainedModel):
    """The embedding, the blocks and the last layer norm."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(ChatGLMBlock(config, i) for i in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.prefix_encoder = PrefixEncoder(config) if config.pre_seq_len else None
        self.post_init()

    def forward(
        self, input_ids: Tensor, position_ids: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """Return the last hidden states; see :meth:`ChatGLMForCausalLM.forward`.

        Returns:
            [batch, tokens, hidden size].
        """
        config = self.config
        if cache is None and self.prefix_encoder is not None:
            cache = DynamicCache(config=config)
        states = self.word_embeddings(input_ids)
        prefix = self._fill_prefix(states, cache)
        masked = None
        if cache is None or int(cache.get_seq_length()) == prefix:
            masked = functional.pad(prompt_mask(input_ids, config), (prefix, 0), value=False)
        if position_ids is None:
            position_ids = prompt_position_ids(input_ids, config)
        rotary = rotary_table(
            position_ids, config.hidden_size // config.num_attention_heads, states.dtype
        )
        for layer in self.layers:
            states = layer(states, masked, rotary, cache=cache)
        output: Tensor = self.final_layernorm(states)
        return output

    def _fill_prefix(self, states: Tensor, cache: Cache | None) -> int:
        """Put the prefix into an empty cache; return its length in tokens."""
        if self.prefix_encoder is None or cache is None:
            return 0
        if not int(cache.get_seq_length()):
            for index, (key, value) in enumerate(
                self.prefix_encoder(states.shape[0], states.dtype).to(states.device)
            ):
                cache.update(key, value, index)
        return self.prefix_encoder.length


class ChatGLMForCausalLM(ChatGLMPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """ChatGLM-6B with its language-model head, which is not tied to the embedding.

    peft requires the methods of ``GenerationMixin``; chatui does not call ``generate``.
    """

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.transformer = ChatGLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> CausalLMOutput:
        """Read a prompt, optionally with its reply, or one more token after those in `cache`.

        Args:
            input_ids: int64 [batch, tokens]; [batch, 1] in a decode step.
            position_ids: int64 [batch, 2, tokens]; None computes them from a prompt.
            cache: keys and values of earlier calls, to which this call adds its own; None keeps
                none.
            labels: int64 [batch, tokens], -100 up to and including [gMASK], then as `input_ids`.
            logits_to_keep: number of last tokens to compute logits for; 0 for all.

        Returns:
            logits [batch, tokens, vocabulary], and the loss if there are labels.

        Raises:
            ValueError: a prompt has no <sop> or no [gMASK].
        """
        states = self.transformer(input_ids, position_ids, cache)
        logits = self.lm_head(states[:, -logits_to_keep:])
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size
            )
        return CausalLMOutput(loss=loss, logits=logits)


def guard_logits(logits: Tensor, space_token_id: int) -> Tensor:
    """Force a space if any logit is NaN or infinite, as the original does.

    Args:
        logits: [..., vocabulary].
        space_token_id: `config.space_token_id`, 5 if there are no image tokens.

    Returns:
        The logits unchanged, or zeros with 5e4 at the space.
    """
    guarded = torch.zeros_like(logits)
    guarded[..., space_token_id] = GUARD_SCORE
    return torch.where(torch.isfinite(logits).all(), logits, guarded)


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
