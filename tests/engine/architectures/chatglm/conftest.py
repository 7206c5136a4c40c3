"""Tiny ChatGLM-6B models with random weights, and a tiny SentencePiece model."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from chatglm_packing import packed_linear

from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig
from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM
from chatui.engine.architectures.chatglm.tokenization import ChatGLMTokenizer

SENTENCES = (
    "你好,我是一个语言模型。很高兴见到你,有什么可以帮助你的吗?",
    "晚上睡不着应该怎么办?可以试试早点睡觉。",
    "the model isn't a person, it's a language model that reads text.",
    "def f(x): return x + 1",
    "We've seen that they're here, and I'm glad. Don't you think so?",
)


@pytest.fixture(scope="session")
def original(reference: Path) -> ChatGLMTokenizer:
    """The tokenizer with the original's vocabulary, from the reference data."""
    made: ChatGLMTokenizer = ChatGLMTokenizer.from_pretrained(reference / "chatglm-6b/model")
    return made


@pytest.fixture(scope="session")
def make_model() -> Callable[..., ChatGLMForCausalLM]:
    """Return a function that makes a random fp32 model with the given configuration."""

    def make(seed: int = 0, **options: Any) -> ChatGLMForCausalLM:
        torch.manual_seed(seed)
        sizes = {
            "vocab_size": 300,
            "hidden_size": 32,
            "num_layers": 3,
            "num_attention_heads": 2,
            "inner_hidden_size": 48,
            "bos_token_id": 204,
            "eos_token_id": 205,
            "pad_token_id": 3,
        }
        model = ChatGLMForCausalLM(ChatGLMConfig(**{**sizes, **options})).eval()
        for parameter in model.parameters():
            if parameter.is_floating_point():
                torch.nn.init.normal_(parameter, std=0.3 if parameter.dim() > 1 else 0.1)
        return model

    return make


@pytest.fixture
def prompt() -> torch.Tensor:
    """A prompt for the models of `make_model`: 12 tokens, [gMASK] (201), <sop> (204)."""
    return torch.tensor([[11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 201, 204]])


@pytest.fixture(scope="session")
def pieces_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained ice_text.model of some hundred pieces, with the original's special pieces."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES * 20),
        model_writer=written,
        vocab_size=560,
        hard_vocab_limit=False,
        byte_fallback=True,
        pad_id=3,
        user_defined_symbols=["<n>", "<|tab|>", *(f"<|blank_{n}|>" for n in range(2, 81))],
        control_symbols=["[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>"],
        minloglevel=2,
    )
    path = tmp_path_factory.mktemp("pieces") / "ice_text.model"
    path.write_bytes(written.getvalue())
    return path


@pytest.fixture
def tokenizer_folder(tmp_path: Path, pieces_file: Path) -> Path:
    """A folder with a tokenizer like that of later checkpoints, which names remote code."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "ice_text.model").write_bytes(pieces_file.read_bytes())
    config = {
        "bos_token": "<sop>",
        "eos_token": "<eop>",
        "gmask_token": "[gMASK]",
        "mask_token": "[MASK]",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "tokenizer_class": "ChatGLMTokenizer",
        "num_image_tokens": 0,
        "auto_map": {"AutoTokenizer": ["tokenization_chatglm.ChatGLMTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "chatglm",
                "position_encoding_2d": True,
                "inner_hidden_size": 48,
                "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
            }
        )
    )
    return folder


@pytest.fixture
def folder(
    make_model: Callable[..., ChatGLMForCausalLM], tokenizer_folder: Path, tmp_path: Path
) -> Path:
    """A folder with a tiny ChatGLM-6B and its tokenizer."""
    tokenizer = ChatGLMTokenizer.from_pretrained(tokenizer_folder)
    ids = {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(piece)
        for name, piece in {
            "bos": "<sop>", "eos": "<eop>", "mask": "[MASK]", "gmask": "[gMASK]", "pad": "<pad>"
        }.items()
    }  # fmt: skip
    made = tmp_path / "chatglm-6b"
    make_model(vocab_size=len(tokenizer) + 4, **ids).save_pretrained(made)
    for name in ("ice_text.model", "tokenizer_config.json"):
        shutil.copy(tokenizer_folder / name, made)
    return made


@pytest.fixture
def packed(folder: Path, tmp_path: Path) -> Callable[[int], Path]:
    """Return a function that quantises the checkpoint of ``folder`` like the released ones."""

    def make(bits: int) -> Path:
        model = ChatGLMForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for block in model.transformer.layers:
            for parent in (block.attention, block.mlp):
                for name, child in list(parent.named_children()):
                    setattr(parent, name, packed_linear(child, bits))
        model.config.quantization_bit = bits
        made = tmp_path / f"chatglm-6b-int{bits}"
        model.save_pretrained(made)
        for name in ("ice_text.model", "tokenizer_config.json"):
            shutil.copy(folder / name, made)
        return made

    return make
