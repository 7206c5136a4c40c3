"""ChatGLM-6B's network on today's transformers: what the model's own 2023 code computed.

A block is post-norm in an unusual place: the residual comes from the layer norm's output,
    a = LN1(h);  h' = α·a + Attention(a);  m = LN2(h');  h'' = α·m + MLP(m).
(GLM-130B, arXiv:2210.02414, and the repository THUDM/chatglm-6b, modeling_chatglm.py.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils.deprecation import deprecate_kwarg

from chatui.engine.architectures.chatglm.attention import ChatGLMAttention, rotary_table
from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
from chatui.engine.architectures.chatglm.positions import prompt_mask, prompt_position_ids
from chatui.engine.architectures.chatglm.prefix import PrefixEncoder
from chatui.engine.architectures.chatglm.quantisation import ChatGLMQuantisedLinear, make_linear

# sqrt(2 · 28): the original takes 28 layers here whatever the configuration says.
RESIDUAL_SCALE = 56**0.5
GUARD_SCORE = 5e4

# transformers renamed the argument in 5.23 and takes the old name until 5.40.
renamed_cache = deprecate_kwarg("past_key_values", "5.40.0", new_name="cache")


class ChatGLMMLP(nn.Module):
    """Two linears with the tanh form of GELU between them."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__()
        size, inner, bits = config.hidden_size, config.inner_hidden_size, config.quantization_bit
        self.dense_h_to_4h = make_linear(size, inner, bits)
        self.dense_4h_to_h = make_linear(inner, size, bits)

    def forward(self, states: Tensor) -> Tensor:
        inner = functional.gelu(self.dense_h_to_4h(states), approximate="tanh")
        output: Tensor = self.dense_4h_to_h(inner)
        return output


class ChatGLMBlock(GradientCheckpointingLayer):  # type: ignore[misc]
    """One layer: attention and MLP, each with a scaled residual from its layer norm."""

    def __init__(self, config: ChatGLMConfig, layer_index: int) -> None:
        super().__init__()
        size, epsilon = config.hidden_size, config.layernorm_epsilon
        self.input_layernorm = nn.LayerNorm(size, eps=epsilon)
        self.attention = ChatGLMAttention(config, layer_index)
        self.post_attention_layernorm = nn.LayerNorm(size, eps=epsilon)
        self.mlp = ChatGLMMLP(config)

    def forward(
        self, states: Tensor, hidden: Tensor | None, rotary: Tensor, cache: Cache | None = None
    ) -> Tensor:
        residual = self.input_layernorm(states)
        states = RESIDUAL_SCALE * residual + self.attention(residual, hidden, rotary, cache)
        residual = self.post_attention_layernorm(states)
        output: Tensor = RESIDUAL_SCALE * residual + self.mlp(residual)
        return output


class ChatGLMPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """What transformers has to know to load and place ChatGLM-6B."""

    config_class = ChatGLMConfig
    base_model_prefix = "transformer"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ["ChatGLMBlock"]  # noqa: RUF012
    _keys_to_ignore_on_load_unexpected = [r"rotary_emb\.inv_freq"]  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, ChatGLMQuantisedLinear):
            for parameter in module.parameters(recurse=False):
                init.zeros_(parameter)
        else:
            super()._init_weights(module)


class ChatGLMModel(ChatGLMPreTrainedModel):
    """The blocks between the embedding and the last layer norm."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(ChatGLMBlock(config, i) for i in range(config.num_layers))
        self.final_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layernorm_epsilon)
        self.prefix_encoder = PrefixEncoder(config) if config.pre_seq_len else None
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.word_embeddings

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.word_embeddings = value

    @renamed_cache  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPast:
        """Run the blocks.

        Args:
            input_ids: int64 [batch, tokens]: a prompt, or what follows the tokens in `cache`.
            attention_mask: None; or [batch, all tokens so far], 0 if one is left padding; or
                bool [batch or 1, 1, tokens, all tokens so far], True where one is hidden, as
                `prompt_mask` gives it. A P-Tuning prefix is never counted in it.
            position_ids: int64 [batch, 2, tokens]; None for a prompt, where they follow from it.
            cache: empty, or what earlier calls left in it. `past_key_values` is its old name.
            use_cache: whether to return a cache; by default as the configuration says.
            output_hidden_states: whether to return the states before each block too.

        Raises:
            ValueError: a prompt without <sop>, or a decode step without position_ids.
        """
        config = self.config
        use_cache = config.use_cache if use_cache is None else use_cache
        if cache is None and (use_cache or self.prefix_encoder is not None):
            cache = DynamicCache(config=config)
        states = self.word_embeddings(input_ids)
        prefix = self._fill_prefix(states, cache)
        padding = padding_of(attention_mask)
        if position_ids is None:
            if cache is not None and int(cache.get_seq_length()) > prefix:
                raise ValueError("a decode step needs position_ids (see next_position_ids)")
            position_ids = prompt_position_ids(input_ids, config, padding)
        hidden = attention_mask
        if attention_mask is None or attention_mask.dim() == 2:
            hidden = self._hidden(input_ids, padding, cache, prefix)
        hidden = widen(hidden, prefix, states, cache)
        rotary = rotary_table(
            position_ids, config.hidden_size // config.num_attention_heads, states.dtype
        )
        between = [states]
        for layer in self.layers:
            states = layer(states, hidden, rotary, cache=cache)
            between.append(states)
        return BaseModelOutputWithPast(
            last_hidden_state=self.final_layernorm(states),
            cache=cache if use_cache else None,
            hidden_states=tuple(between) if output_hidden_states else None,
        )

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

    def _hidden(
        self, input_ids: Tensor, padding: Tensor | None, cache: Cache | None, prefix: int
    ) -> Tensor | None:
        """The mask over the tokens so far, or None if everything is seen."""
        past = 0 if cache is None else int(cache.get_seq_length()) - prefix
        if past == 0:
            return prompt_mask(input_ids, self.config, padding)
        length = input_ids.shape[1]
        if length == 1 and padding is None:
            return None
        key = torch.arange(past + length, device=input_ids.device)
        hidden = (key > key[past:, None])[None, None]
        return hidden if padding is None else hidden | padding[:, None, None]


class ChatGLMForCausalLM(ChatGLMPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """ChatGLM-6B with its language-model head, which has weights of its own."""

    def __init__(self, config: ChatGLMConfig) -> None:
        super().__init__(config)
        self.transformer = ChatGLMModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        self.lm_head = new_embeddings

    @renamed_cache  # type: ignore[untyped-decorator]
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Give the logits of the next token.

        Args:
            input_ids: see `ChatGLMModel.forward`, as the arguments not named here.
            labels: int64 [batch, tokens], -100 up to and with [gMASK], then as `input_ids`.
            logits_to_keep: how many of the last tokens get logits, 0 for all; 1 spares a
                prefill the logits of the whole prompt.

        Returns:
            logits [batch, tokens, vocabulary], the cache, and the loss where there are labels.
        """
        outputs = self.transformer(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            use_cache=use_cache,
            **kwargs,
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size
            )
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, cache=outputs.cache, hidden_states=outputs.hidden_states
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        attention_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """The arguments of one step of `generate`: positions come from the whole sequence."""
        positions = prompt_position_ids(input_ids, self.config, padding_of(attention_mask))
        if next_sequence_length is not None:
            input_ids = input_ids[:, -next_sequence_length:]
            positions = positions[..., -next_sequence_length:]
        given = {"attention_mask": attention_mask, "position_ids": positions}
        return {**kwargs, **given, "input_ids": input_ids}


def padding_of(attention_mask: Tensor | None) -> Tensor | None:
    """Where the padding is, from a mask with 0 there: bool [batch, tokens], None for nowhere."""
    if attention_mask is None or attention_mask.dim() != 2:
        return None
    padding = attention_mask == 0
    return padding if bool(padding.any()) else None


def widen(hidden: Tensor | None, prefix: int, states: Tensor, cache: Cache | None) -> Tensor | None:
    """Fit a mask over tokens to the cache: the prefix is seen, unused places are hidden.

    Args:
        hidden: bool [batch or 1, 1, tokens, all tokens so far], or None.
        prefix: length of the P-Tuning prefix, in tokens.
        states: [batch, tokens, hidden size], for the length and the device.
        cache: whose capacity counts; None for none.

    Returns:
        bool [batch or 1, 1, tokens, keys], or None if everything is seen.
    """
    length = states.shape[1]
    if hidden is None:
        if cache is None or not cache.is_compileable:
            return None
        used = int(cache.get_seq_length()) - prefix + length
        hidden = torch.zeros(1, 1, length, used, dtype=torch.bool, device=states.device)
    unused = 0
    if cache is not None and cache.is_compileable:
        unused = max(0, cache.get_mask_sizes(length, 0)[0] - prefix - hidden.shape[-1])
    if prefix:
        hidden = functional.pad(hidden, (prefix, 0), value=False)
    return functional.pad(hidden, (0, unused), value=True) if unused else hidden


def guard_logits(logits: Tensor, space_token_id: int) -> Tensor:
    """The original's guard: if any score is NaN or infinite, only a space can follow.

    Args:
        logits: [..., vocabulary].
        space_token_id: `config.space_token_id`, 5 if there are no image tokens.

    Returns:
        The logits as they are, or all 0 with 5e4 at the space.
    """
    guarded = torch.zeros_like(logits)
    guarded[..., space_token_id] = GUARD_SCORE
    return torch.where(torch.isfinite(logits).all(), logits, guarded)
