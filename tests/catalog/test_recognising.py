"""Recognising models by their config or header."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from model_files import gguf, write_model

from chatui.catalog import resolve
from chatui.catalog.gguf import check_gguf, read_gguf
from chatui.catalog.model_files import check_not_pointer, is_rwkv_file, weight_files
from chatui.catalog.recognise import family_of, read_config, recognise, why_unsupported
from chatui.errors import ChatuiError
from chatui.settings import Settings


@pytest.mark.parametrize(
    ("config", "family", "format", "window"),
    [
        ({"model_type": "gpt2", "n_positions": 1024}, "gpt2", "gpt2-chinese", 1024),
        ({"model_type": "bloom", "seq_length": 2048}, "bloom", "bloomz", 2048),
        ({"model_type": "rwkv", "context_length": 1024}, "rwkv", "chatrwkv", 1024),
        ({"model_type": "moss", "n_positions": 2048}, "moss", "moss", 2048),
        ({"model_type": "llama"}, "llama", "alpaca:article", None),
        ({"model_type": "glm4"}, "glm4", "bloomz", None),
        ({"architectures": ["LLaMAForCausalLM"]}, "llama", "alpaca:article", None),
    ],
)
def test_families(
    tmp_path: Path, config: dict[str, Any], family: str, format: str, window: int | None
) -> None:
    found = recognise(write_model(tmp_path, config))
    assert (found.family, found.format, found.context_limit) == (family, format, window)
    assert not found.lacks


def test_chatglm_6b_is_recognised(reference: Path) -> None:
    found = recognise(reference / "chatglm-6b" / "model")
    assert (found.family, found.format, found.lacks) == ("chatglm", "chatglm-6b", "")


@pytest.mark.parametrize(
    ("config", "family", "said"),
    [
        ({"padded_vocab_size": 65024, "seq_length": 32768}, "chatglm2", "ChatGLM2"),
        ({"padded_vocab_size": 65024, "seq_length": 8192}, "chatglm3", "ChatGLM3"),
        ({"padded_vocab_size": 151552, "seq_length": 131072}, "glm-4", "glm-4-9b-chat-hf"),
    ],
)
def test_later_generations_of_chatglm(
    tmp_path: Path, config: dict[str, Any], family: str, said: str
) -> None:
    config = {"model_type": "chatglm", "multi_query_attention": True, **config}
    assert family_of(config) == family
    assert said in recognise(write_model(tmp_path, config)).lacks


@pytest.mark.parametrize("name", ["chat_template.jinja", "tokenizer_config.json"])
def test_a_chat_template_is_recognised(tmp_path: Path, name: str) -> None:
    text = json.dumps({"chat_template": "{{ messages }}"})
    write_model(tmp_path, {"model_type": "llama"}, **{name: text})
    assert recognise(tmp_path).format == "chat-template"


def test_an_empty_chat_template_is_ignored(tmp_path: Path) -> None:
    write_model(tmp_path, {"model_type": "llama"}, tokenizer_config__json="{}")
    assert recognise(tmp_path).format == "alpaca:article"


@pytest.mark.parametrize(
    ("family", "writer"),
    [
        ("qwen2", "Qwen2ForCausalLM"),
        ("llama", "MyLlamaForCausalLM"),
        ("mixtral", "MixtralForCausalLM"),
        ("reformer", "ReformerModelWithLMHead"),
        ("gemma3_text", ""),
        ("emu3", "Emu3ForCausalLM"),
    ],
)
def test_supported_classes_are_not_refused(family: str, writer: str) -> None:
    assert why_unsupported({"model_type": family, "architectures": [writer]}) == ""


def test_weights_are_counted(tmp_path: Path) -> None:
    folder = write_model(tmp_path, {}, pytorch_model__bin=b"x" * 50, training_args__bin=b"x")
    weights = weight_files(folder)
    assert weights
    assert (weights.total_bytes, weights.missing) == (64, ())
    (folder / "model.safetensors").unlink()
    weights = weight_files(folder)
    assert weights
    assert weights.total_bytes == 50


def test_gguf_headers(tmp_path: Path) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(gguf(general__architecture="llama", general__name="Mine"))
    header = read_gguf(file)
    assert header
    assert header.architecture == "llama"
    assert (header.context_limit, header.has_chat_template) == (None, False)
    file.write_bytes(b"GGUF" + b"\xff" * 40)
    assert read_gguf(file) is None
    assert read_gguf(tmp_path) is None


def test_rwkv_files(reference: Path, tmp_path: Path) -> None:
    assert is_rwkv_file(reference / "rwkv4" / "tiny.pth")
    other = tmp_path / "other.pth"
    other.write_bytes(b"PK")
    assert not is_rwkv_file(other)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, "encoder-decoder"),
        ({"model_type": "mt5"}, "encoder-decoder"),
        ({"model_type": "qwen2_vl"}, "images"),
        ({"model_type": "llava"}, "images"),
        ({"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}, "speech"),
        ({"model_type": "deberta"}, "gaps"),
        ({"model_type": "glmasr"}, "sound"),
        ({"model_type": "voxtral"}, "speech"),
        ({"model_type": "vit"}, "“vit” is not a model that generates text"),
        ({"model_type": "chinese_clip"}, "“chinese_clip” is not a model that generates text"),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "“BertModel” is not a model"),
        (
            {"model_type": "musicgen", "architectures": ["MusicgenForConditionalGeneration"]},
            "“MusicgenForConditionalGeneration” is not a model that generates text",
        ),
        ({"model_type": "fuyu", "architectures": ["FuyuForCausalLM"]}, "images"),
        ({"model_type": "aquila"}, "does not know its model type “aquila”: it needs code"),
        ({"model_type": "internlm"}, "does not know its model type “internlm”: it needs code"),
    ],
)
def test_unsupported_models_are_refused_with_the_right_reason(
    tmp_path: Path, config: dict[str, Any], words: str
) -> None:
    assert words in recognise(write_model(tmp_path, config)).lacks


@pytest.mark.parametrize("name", ["codegeex2-6b", "CodeGeeX2"])
def test_codegeex2_is_not_called_chatglm2(tmp_path: Path, name: str) -> None:
    config = {"model_type": "chatglm", "padded_vocab_size": 65024, "seq_length": 8192}
    found = recognise(write_model(tmp_path / name, config))
    assert found.family == "codegeex2" and found.lacks.startswith("It is CodeGeeX2")


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"


def test_incomplete_gguf_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    whole = gguf(tensors=((64, 4), (32,)))
    file.write_bytes(whole)
    assert check_gguf(file).least_bytes == len(whole)
    file.write_bytes(whole[:-1])
    with pytest.raises(ChatuiError, match=f"{len(whole) - 1} of {len(whole)} bytes"):
        check_gguf(file)
    for cut in range(4, len(whole) - 64 * 4 * 4 - 32 * 4, 7):
        file.write_bytes(whole[:cut])
        with pytest.raises(ChatuiError, match="truncated"):
            check_gguf(file)
    nested = struct.pack("<QcI", 1, b"a", 9) + struct.pack("<IQ", 9, 1) * 5000
    file.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + nested)
    with pytest.raises(ChatuiError, match="truncated or damaged"):
        check_gguf(file)
    file.write_bytes(gguf(tensors=()))
    with pytest.raises(ChatuiError, match="a vocabulary and no model"):
        check_gguf(file)
    file.write_bytes(POINTER)
    with pytest.raises(ChatuiError, match="LFS pointer"):
        resolve(str(file), Settings())


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_lfs_pointer_is_named_in_the_error(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "m", {"model_type": "llama", "architectures": []})
    (folder / name).write_bytes(POINTER)
    check = read_config if name == "config.json" else None
    with pytest.raises(ChatuiError, match=f"{name} is a Git LFS pointer"):
        check(folder) if check else check_not_pointer(folder / name)
