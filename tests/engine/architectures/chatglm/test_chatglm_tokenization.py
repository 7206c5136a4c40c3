"""ChatGLM-6B's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chatui.engine.architectures.chatglm.tokenization import ChatGLMTokenizer
from chatui.errors import ChatuiError


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> ChatGLMTokenizer:
    made: ChatGLMTokenizer = ChatGLMTokenizer.from_pretrained(tokenizer_folder)
    return made


def test_a_prompt_ends_with_gmask_and_sop(tokenizer: ChatGLMTokenizer) -> None:
    ids = tokenizer.encode("你好")
    assert tokenizer.convert_ids_to_tokens(ids[-2:]) == ["[gMASK]", "<sop>"]
    assert ids[:-2] == tokenizer.encode("你好", add_special_tokens=False)


def test_white_space_is_restored(tokenizer: ChatGLMTokenizer) -> None:
    text = "def f(x):\n    return x\n\n\tx" + " " * 90 + "y"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert {"<n>", "<|tab|>", "<|blank_4|>", "<|blank_80|>", "<|blank_10|>"} <= set(
        tokenizer.convert_ids_to_tokens(ids)
    )
    assert tokenizer.decode(ids) == text


def test_spaces_before_punctuation_are_cleaned_up(tokenizer: ChatGLMTokenizer) -> None:
    ids = tokenizer.encode("see it is n't , so it 's .", add_special_tokens=False)
    assert tokenizer.decode(ids) == "see it isn't, so it's."
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == "see it is n't , so it 's ."


def test_special_tokens_in_a_query_as_in_the_original(
    tokenizer: ChatGLMTokenizer,
) -> None:
    def tokens(text: str) -> list[str]:
        return tokenizer.tokenize(text)

    assert tokens("你好 <eop>\n\n好") == [*tokens("你好"), "<eop>", *tokens("好")]
    assert tokens("[MASK]<sop>") == ["[MASK]", "<sop>"]
    assert "[gMASK]" not in tokens("a[gMASK]b")
    assert "</s>" not in tokens("a</s>b")


def test_image_tokens_shift_every_id(tokenizer_folder: Path, tokenizer: ChatGLMTokenizer) -> None:
    shifted = ChatGLMTokenizer.from_pretrained(tokenizer_folder, num_image_tokens=20000)
    ids = tokenizer.encode("你好\n世界")
    assert shifted.encode("你好\n世界") == [index + 20000 for index in ids]
    assert shifted.eos_token_id == tokenizer.eos_token_id + 20000
    assert shifted.decode([index + 20000 for index in ids]) == tokenizer.decode(ids)
    assert shifted.convert_tokens_to_ids("<image_7>") == 7


def test_eop_token_of_the_oldest_files(tokenizer_folder: Path) -> None:
    path = tokenizer_folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    del config["num_image_tokens"]
    path.write_text(json.dumps({**config, "eos_token": "</s>", "eop_token": "<eop>"}))
    tokenizer = ChatGLMTokenizer.from_pretrained(tokenizer_folder)
    assert tokenizer.eos_token == "<eop>"
    assert tokenizer.num_image_tokens == 20000


@pytest.mark.parametrize("text", ["", "\ud800", "a\udfffb", "\x00", "\x1b[31m", "👩‍👩‍👧", "龘𠮷"])
def test_any_text_can_be_encoded(tokenizer: ChatGLMTokenizer, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert "\ud800" not in tokenizer.decode(ids)


def test_ids_beyond_the_vocabulary_have_no_text(tokenizer: ChatGLMTokenizer) -> None:
    ids = tokenizer.encode("你好", add_special_tokens=False)
    assert tokenizer.decode([*ids, tokenizer.vocab_size + 5]) == "你好"


def test_a_broken_vocabulary_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "ice_text.model"
    for content in (b"", b"version https://git-lfs.github.com/spec/v1\n"):
        path.write_bytes(content)
        with pytest.raises(ChatuiError, match=r"ice_text\.model"):
            ChatGLMTokenizer(str(path))


def test_equals_the_reference(original: ChatGLMTokenizer, reference: Path) -> None:
    lines = (reference / "chatglm-6b/tokenizer.jsonl").read_text("utf-8").splitlines()
    assert lines
    for line in lines:
        case = json.loads(line)
        assert original.encode(case["text"], add_special_tokens=False) == case["ids"]
        assert original.encode(case["text"]) == case["with_special"]
        assert original.decode(case["ids"]) == case["decoded"]


@pytest.mark.parametrize(
    ("text", "ids", "decoded"),
    [
        ("你好<eop>世界", [5, 74874, 130005, 5, 64097], "你好 世界"),
        ("  <eop>  y", [130005, 548], "y"),
        ("中 <eop>\n\n文", [5, 63833, 130005, 5, 64013], "中 文"),
        ("[MASK] x", [130000, 399], "x"),
        ("[gMASK]x", [53, 199, 15475, 42, 149], "[gMASK]x"),
        ("</s>", [98, 106, 33], "</s>"),
        ("<unk>", [0], " ⁇ "),
        ("<image_5>", [46, 1526, 24, 15, 33], "<image_5>"),
        ("\x00a\x01", [5, 130088, 131], "\x00a"),
    ],
)
def test_unusual_texts_as_in_transformers_4_28(
    original: ChatGLMTokenizer, text: str, ids: list[int], decoded: str
) -> None:
    assert original.encode(text, add_special_tokens=False) == ids
    assert original.decode(ids) == decoded
