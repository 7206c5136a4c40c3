"""The configuration of ChatGLM-6B v1."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from chatui.errors import ChatuiError
from chatui.locales import say

# Ids in releases without image tokens; in older checkpoints all ids are higher by 20000.
SOP_ID = 130004
PAD_ID = 3
SPACE_ID = 5


@strict
class ChatGLMConfig(PreTrainedConfig):  # type: ignore[misc]
    """Configuration of ChatGLM-6B v1, with the names used in its checkpoints.

    Args:
        max_sequence_length: prompt and reply together, in tokens.
        mask_token_id: [MASK]; by default `bos_token_id` - 4, as in the vocabulary.
        gmask_token_id: [gMASK]; by default `bos_token_id` - 3.
        quantization_bit: 8 or 4 if the linear layers of the blocks are packed, else 0.
        pre_seq_len: length of a P-Tuning v2 prefix in tokens, None or 0 without one.
        prefix_projection: whether the prefix goes through a two-layer network.
    """

    model_type = "chatglm"
    attribute_map = {  # noqa: RUF012
        "num_hidden_layers": "num_layers",
        "intermediate_size": "inner_hidden_size",
        "max_position_embeddings": "max_sequence_length",
    }

    vocab_size: int = 130528
    hidden_size: int = 4096
    num_layers: int = 28
    num_attention_heads: int = 32
    inner_hidden_size: int = 16384
    layernorm_epsilon: float = 1e-5
    max_sequence_length: int = 2048
    position_encoding_2d: bool = True
    initializer_range: float = 0.02
    bos_token_id: int | None = SOP_ID
    eos_token_id: int | list[int] | None = SOP_ID + 1
    mask_token_id: int | None = None
    gmask_token_id: int | None = None
    pad_token_id: int | None = None
    tie_word_embeddings: bool = False
    quantization_bit: int = 0
    pre_seq_len: int | None = None
    prefix_projection: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.bos_token_id is None:
            self.bos_token_id = SOP_ID
        if self.mask_token_id is None:
            self.mask_token_id = self.bos_token_id - 4
        if self.gmask_token_id is None:
            self.gmask_token_id = self.bos_token_id - 3
        if self.pad_token_id is None:
            self.pad_token_id = PAD_ID + self.id_offset
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Read a config.json; see `PreTrainedConfig.from_dict`.

        Raises:
            ChatuiError: the config is not ChatGLM-6B v1's, or its quantisation is not supported.
        """
        if not config_dict.get("position_encoding_2d", "inner_hidden_size" in config_dict):
            raise ChatuiError(say("chatglm.other_positions"))
        if config_dict.get("quantization_embeddings"):
            raise ChatuiError(say("chatglm.packed_embedding"))
        if config_dict.get("quantization_bit", 0) not in (0, 4, 8):
            raise ChatuiError(say("chatglm.other_bits", bits=config_dict["quantization_bit"]))
        return super().from_dict(config_dict, **kwargs)

    @property
    def id_offset(self) -> int:
        """Offset of the ids: 20000 in the oldest checkpoints, else 0."""
        return max(0, (self.bos_token_id or 0) - SOP_ID)

    @property
    def space_token_id(self) -> int:
        """The id of a single space, to which the original falls back on invalid logits."""
        return SPACE_ID + self.id_offset
