"""Streamed text of ChatGLM-6B equals the decode of all its tokens."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from chatui.engine.architectures.chatglm.tokenization import (
    CLEAN_UP,
    WHITESPACE,
    ChatGLMDetokenizer,
    ChatGLMStreamCleaner,
    ChatGLMTokenizer,
)


@pytest.fixture
def tokenizer(tokenizer_folder: Path) -> ChatGLMTokenizer:
    return ChatGLMTokenizer.from_pretrained(tokenizer_folder)


def stream(tokenizer: ChatGLMTokenizer, ids: list[int], skip: bool = False) -> str:
    skipped = tokenizer.all_special_ids if skip else [tokenizer.pad_token_id]
    detokenizer = ChatGLMDetokenizer(tokenizer, skipped)
    return "".join(map(detokenizer.add, ids)) + detokenizer.flush()


def clean(text: str) -> str:
    for token, white in WHITESPACE.items():
        text = text.replace(token, white)
    for old, new in CLEAN_UP:
        text = text.replace(old, new)
    return text


def test_streamed_cleaning_equals_cleaning_the_whole_text() -> None:
    random_ = random.Random(0)
    atoms = [*" .?!,'", "  ", "n't", "'m", "'s", " 've", "'r", "e", "a", "<n>", "<|blank_", "2|>"]
    atoms += ["<", "n", ">", "<|ta", "b|>", "<|blank_80|>", "<|blank_81|>", "中", "<<n>>"]
    for _ in range(1000):
        pieces = random_.choices(atoms, k=random_.randint(0, 14))
        cleaner = ChatGLMStreamCleaner()
        streamed = "".join(map(cleaner.push, pieces)) + cleaner.flush()
        assert streamed == clean("".join(pieces)), pieces


def test_at_most_a_dozen_characters_are_held_back() -> None:
    cleaner = ChatGLMStreamCleaner()
    given = 0
    for count in range(1, 2000):
        given += len(cleaner.push("字"))
        assert given == count
    assert cleaner.push("x <|blank_8") == "x"
    assert cleaner.push("") == ""
    assert cleaner.push("z") == " <|blank_8z"


def test_streamed_text_equals_the_decoded_text(tokenizer: ChatGLMTokenizer) -> None:
    random_ = random.Random(0)
    specials = [*tokenizer.all_special_ids, tokenizer.gmask_token_id, tokenizer.vocab_size + 1]
    bytes_ = tokenizer.convert_tokens_to_ids([f"<0x{byte:02X}>" for byte in "😀中".encode()])
    for _ in range(800):
        ids = [
            random_.choice((random_.choice(specials), random_.choice(bytes_), token, token))
            for token in random_.choices(range(tokenizer.vocab_size), k=random_.randint(0, 12))
        ]
        for skip in (False, True):
            assert stream(tokenizer, ids, skip) == tokenizer.decode(ids, skip_special_tokens=skip)


def test_a_character_of_several_tokens_is_streamed_at_once(tokenizer: ChatGLMTokenizer) -> None:
    detokenizer = ChatGLMDetokenizer(tokenizer, ())
    ids = tokenizer.encode("😀", add_special_tokens=False)
    assert [text for text in map(detokenizer.add, ids) if text] == ["😀"]


def test_only_leading_spaces_are_removed(tokenizer: ChatGLMTokenizer) -> None:
    ids = tokenizer.encode("the model", add_special_tokens=False)
    assert stream(tokenizer, ids) == "the model"
    assert stream(tokenizer, [*ids, *ids]) == "the model the model"


def test_streams_the_reference(reference: Path, original: ChatGLMTokenizer) -> None:
    for line in (reference / "chatglm-6b/tokenizer.jsonl").read_text("utf-8").splitlines():
        case = json.loads(line)
        assert stream(original, case["ids"]) == case["decoded"]
