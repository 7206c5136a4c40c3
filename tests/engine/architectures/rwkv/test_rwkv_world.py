"""The World models' tokenizer."""

from __future__ import annotations

import json
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import tiny_rwkv

from chatui.engine.architectures.rwkv.rwkv_tokenizers import (
    WorldVocabulary,
    load_codec,
    read_world_vocabulary,
)
from chatui.engine.detokenizer import BytesDetokenizer
from chatui.errors import ChatuiError

TEXTS = (
    "User: hi\n\nAssistant: Hi. I am your assistant.\n\n",
    "春眠不觉晓，处处闻啼鸟。\r\n\r\n  夜来风雨声……花落知多少？",
    "def f(x):\n\treturn {'a': 1}  # 注释\n" * 3,
    "😀🧑‍🚀 𠮷野家 é ﷽ \ufffd\x00\x7f",
    "",
)


@pytest.fixture
def tiny(tmp_path: Path) -> WorldVocabulary:
    file = tmp_path / tiny_rwkv.WORLD_FILE
    file.write_text(tiny_rwkv.world_lines(), encoding="utf-8")
    return read_world_vocabulary(file)


def test_ids_equal_those_of_the_rwkv_package(tmp_path: Path) -> None:
    """With a part of the vocabulary, because building the package's trie takes seconds."""
    package = find_spec("rwkv")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the rwkv package is not installed")
    folder = Path(package.submodule_search_locations[0])
    sys.path.insert(0, str(folder))
    try:
        from rwkv_tokenizer import TRIE_TOKENIZER  # type: ignore[import-not-found]
    finally:
        sys.path.remove(str(folder))
    lines = (folder / tiny_rwkv.WORLD_FILE).read_text(encoding="utf-8").splitlines(keepends=True)
    part = tmp_path / tiny_rwkv.WORLD_FILE
    part.write_text("".join(lines[:1000] + lines[1000::9]), encoding="utf-8")
    theirs: Any = TRIE_TOKENIZER(str(part))
    ours = read_world_vocabulary(part)
    assert ours.tokens == theirs.idx2token
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text)
    assert ours.encode("\n\n") == [261]


def test_the_longest_token_is_taken(tiny: WorldVocabulary) -> None:
    by_word = {token: id for id, token in tiny.tokens.items()}
    assert tiny.encode("abcab") == [by_word[b"abc"], by_word[b"ab"]]
    assert tiny.encode("。\n\n") == [by_word["。\n\n".encode()]]
    assert tiny.encode("你") == [by_word["你".encode()[:2]], by_word["你".encode()[2:]]]
    assert tiny.encode("你好") == [by_word["你好".encode()]]


def test_streamed_text_equals_the_text(tiny: WorldVocabulary) -> None:
    for text in TEXTS:
        detokenizer = BytesDetokenizer(tiny.bytes_of)
        pieces = [detokenizer.add(id) for id in tiny.encode(text)]
        assert "".join(pieces) + detokenizer.flush() == text
        assert all(not piece or piece in text for piece in pieces)
    detokenizer = BytesDetokenizer(tiny.bytes_of)
    drawn = random.Random(0).choices(range(280), k=500)
    text = "".join(map(detokenizer.add, drawn)) + detokenizer.flush()
    assert text == b"".join(tiny.tokens.get(id, b"") for id in drawn).decode("utf-8", "replace")


def test_a_lone_surrogate_becomes_the_replacement_character(tiny: WorldVocabulary) -> None:
    assert tiny.encode("\ud800a") == tiny.encode("\ufffda")


def test_the_vocabulary_as_json(tmp_path: Path, tiny: WorldVocabulary) -> None:
    file = tmp_path / "rwkv_vocab_v20230424.json"

    def value(token: bytes) -> str | list[int]:
        try:
            return token.decode()
        except UnicodeDecodeError:
            return list(token)

    file.write_text(json.dumps({str(id): value(token) for id, token in tiny.tokens.items()}))
    assert read_world_vocabulary(file).tokens == tiny.tokens
    lossy = {token.decode("utf-8", "ignore"): id for id, token in tiny.tokens.items()}
    file.write_text(json.dumps(lossy))
    with pytest.raises(ChatuiError, match="it lacks the tokens for parts of characters"):
        read_world_vocabulary(file)


@pytest.mark.parametrize(
    "text",
    [
        "",
        tiny_rwkv.world_lines()[:1500],
        tiny_rwkv.world_lines()[:-10],
        tiny_rwkv.world_lines() + "300 __import__('os') 3\n",
        tiny_rwkv.world_lines() + "300 'ab' 3\n",
        "\x00" * 100,
    ],
)
def test_a_broken_vocabulary(tmp_path: Path, text: str) -> None:
    file = tmp_path / tiny_rwkv.WORLD_FILE
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ChatuiError, match="is not a complete RWKV tokenizer") as caught:
        load_codec(file, tiny_rwkv.WORLD_ROWS)
    assert len(str(caught.value).splitlines()) == 1


def test_two_newlines_at_the_end_of_a_prompt(reference: Path, tmp_path: Path) -> None:
    """v2/chat.py, fix_tokens: the models were trained with [187, 187]."""
    encode = load_codec(reference / "tokenizers" / "rwkv-20B_tokenizer.json", 50277).encode
    assert encode("a\n\n") == [66, 187, 187]
    assert encode("\n\n") == [187, 187]
    assert encode("a\n\nb") == [66, 187, 187, *encode("b")]
    assert encode("a\n\n b") == [66, 535, *encode(" b")]
    assert [len(encode(mark)) for mark in "，：？！"] == [1, 1, 1, 1]
