"""ChatGLM-6B's configuration, and configurations of other networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
from chatui.errors import ChatuiError

V1 = {
    "architectures": ["ChatGLMModel"],
    "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
    "hidden_size": 4096,
    "inner_hidden_size": 16384,
    "model_type": "chatglm",
    "num_attention_heads": 32,
    "num_layers": 28,
    "position_encoding_2d": True,
    "torch_dtype": "float16",
}


def load(folder: Path, config: dict[str, Any]) -> Any:
    (folder / "config.json").write_text(json.dumps(config))
    return ChatGLMConfig.from_pretrained(folder)


def test_v1_is_read_without_its_remote_code(tmp_path: Path) -> None:
    config = load(tmp_path, {**V1, "bos_token_id": 130004, "vocab_size": 130528})
    assert isinstance(config, ChatGLMConfig)
    assert (config.num_hidden_layers, config.max_position_embeddings) == (28, 2048)
    assert (config.mask_token_id, config.gmask_token_id, config.pad_token_id) == (130000, 130001, 3)
    assert (config.id_offset, config.space_token_id) == (0, 5)


def test_ids_of_the_oldest_checkpoints_are_shifted(tmp_path: Path) -> None:
    config = load(tmp_path, {**V1, "bos_token_id": 150004, "vocab_size": 150528})
    assert (config.mask_token_id, config.gmask_token_id) == (150000, 150001)
    assert (config.id_offset, config.space_token_id) == (20000, 20005)


def test_a_saved_configuration_is_read_back(tmp_path: Path) -> None:
    ChatGLMConfig(num_layers=2, pre_seq_len=4, prefix_projection=True).save_pretrained(tmp_path)
    config = ChatGLMConfig.from_pretrained(tmp_path)
    assert (config.num_layers, config.pre_seq_len, config.prefix_projection) == (2, 4, True)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"position_encoding_2d": False}, "position_encoding_2d"),
        ({"quantization_embeddings": True, "quantization_bit": 4}, "chatglm-6b-int4"),
        ({"quantization_bit": 2}, "2 bits"),
    ],
)
def test_another_network_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ChatuiError, match=named) as refusal:
        load(tmp_path, {**V1, **change})
    assert str(refusal.value).count(". ") == 0


def test_a_chatglm2_file_is_refused(tmp_path: Path) -> None:
    config = {
        "model_type": "chatglm",
        "ffn_hidden_size": 13696,
        "hidden_size": 4096,
        "kv_channels": 128,
        "multi_query_attention": True,
        "multi_query_group_num": 2,
        "num_layers": 28,
        "padded_vocab_size": 65024,
        "rmsnorm": True,
        "seq_length": 32768,
    }
    with pytest.raises(ChatuiError, match="--server"):
        load(tmp_path, config)


def test_a_config_without_a_model_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChatuiError, match="position_encoding_2d"):
        load(tmp_path, {"model_type": "chatglm", "hidden_size": 32})
