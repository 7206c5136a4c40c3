"""Selecting the needed files of a repository."""

from __future__ import annotations

import pytest

from chatui.catalog.fetching.needed_files import needed_files
from chatui.catalog.schema import Part
from chatui.errors import ChatuiError

CASES = {
    "safetensors before bin": (
        "config.json model.safetensors pytorch_model.bin tf_model.h5 flax_model.msgpack README.md",
        "config.json model.safetensors",
    ),
    "bin where there is nothing else": (
        "config.json pytorch_model.bin vocab.txt .gitattributes training_args.bin",
        "config.json pytorch_model.bin vocab.txt",
    ),
    "shards with their index, not the other form's": (
        "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors"
        " model.safetensors.index.json pytorch_model-00001-of-00001.bin"
        " pytorch_model.bin.index.json",
        "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors"
        " model.safetensors.index.json",
    ),
    "a whole set before one with gaps": (
        "config.json model-00001-of-00002.safetensors model.safetensors.index.json"
        " pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin"
        " pytorch_model.bin.index.json",
        "config.json pytorch_model-00001-of-00002.bin pytorch_model-00002-of-00002.bin"
        " pytorch_model.bin.index.json",
    ),
    "ChatGLM-6B, without its code": (
        "config.json ice_text.model modeling_chatglm.py pytorch_model-00001-of-00001.bin"
        " pytorch_model.bin.index.json quantization.py tokenizer_config.json MODEL_LICENSE",
        "config.json ice_text.model pytorch_model-00001-of-00001.bin pytorch_model.bin.index.json"
        " tokenizer_config.json",
    ),
    "an adapter with its tokenizer": (
        "adapter_config.json adapter_model.bin tokenizer.model special_tokens_map.json"
        " optimizer.pt trainer_state.json checkpoint-9/adapter_model.bin",
        "adapter_config.json adapter_model.bin tokenizer.model special_tokens_map.json",
    ),
    "a model with an adapter beside it": (
        "config.json model.safetensors adapter_model.safetensors adapter_config.json",
        "config.json model.safetensors adapter_model.safetensors adapter_config.json",
    ),
    "nothing of the folders": (
        "config.json model.safetensors onnx/model.onnx original/consolidated.00.pth"
        " fp16/model.safetensors",
        "config.json model.safetensors",
    ),
    "Mistral's second copy of the weights": (
        "config.json model.safetensors consolidated.safetensors tokenizer.model.v3 tekken.json",
        "config.json model.safetensors tekken.json",
    ),
    "the one file of a GGUF repository": (
        "x-Q4_K_M.gguf mmproj-x.gguf README.md",
        "x-Q4_K_M.gguf",
    ),
    "a GGUF in pieces": (
        "x-00001-of-00002.gguf x-00002-of-00002.gguf",
        "x-00001-of-00002.gguf x-00002-of-00002.gguf",
    ),
    "weights of an unusual name": (
        "config.json gptq_model-4bit-128g.safetensors quantize_config.json",
        "config.json gptq_model-4bit-128g.safetensors quantize_config.json",
    ),
}


def chosen(names: str, part: Part | None = None, role: str = "base") -> set[str]:
    found = needed_files("you/it", names.split(), part or Part("you/it"), role)  # type: ignore[arg-type]
    return {*found}


@pytest.mark.parametrize("case", CASES)
def test_a_model_needs(case: str) -> None:
    there, wanted = CASES[case]
    assert chosen(there) == set(wanted.split())


def test_a_tokenizer_needs_no_weights() -> None:
    there = "config.json model.safetensors tokenizer.json merges.txt vocab.json chat_template.jinja"
    assert chosen(there, role="tokenizer") == set(there.split()) - {"model.safetensors"}


def test_a_part_with_a_file_needs_only_that_file() -> None:
    there = "a.pth b.pth deep/a.pth 20B_tokenizer.json config.json"
    assert chosen(there, Part("you/it", file="b.pth")) == {"b.pth"}
    assert chosen(there, Part("you/it", file="deep/a.pth")) == {"deep/a.pth"}
    assert chosen(there, Part("you/it", folder="deep", file="a.pth")) == {"deep/a.pth"}
    pieces = "x-00001-of-00002.gguf x-00002-of-00002.gguf y-00001-of-00002.gguf"
    assert chosen(pieces, Part("you/it", file="x-00002-of-00002.gguf")) == {
        "x-00001-of-00002.gguf",
        "x-00002-of-00002.gguf",
    }


def test_a_part_with_a_folder_needs_the_files_in_it() -> None:
    there = "config.json model.safetensors lora/adapter_config.json lora/adapter_model.bin lora/x/y"
    assert chosen(there, Part("you/it", folder="lora")) == {
        "lora/adapter_config.json",
        "lora/adapter_model.bin",
    }


@pytest.mark.parametrize(
    ("there", "part", "sentence"),
    [
        ("README.md config.json", Part("you/it"), "no weights that chatui can load"),
        ("a.pth b.pth", Part("you/it"), r"several models \(a.pth, b.pth\).*pull you/it/a.pth`"),
        ("a-Q4.gguf a-Q8.gguf", Part("you/it"), "several models"),
        ("model.safetensors", Part("you/it", file="m.pth"), "you/it has no file m.pth"),
        ("deep/M.pth", Part("you/it", file="m.pth"), r"did you mean deep/M\.pth\?"),
        ("model.safetensors", Part("you/it", folder="x"), "has no files in x"),
        ("", Part("you/it"), "has no files in /"),
    ],
)
def test_missing_files_are_one_sentence(there: str, part: Part, sentence: str) -> None:
    with pytest.raises(ChatuiError, match=sentence):
        chosen(there, part)
