"""LLaMA's tokenizer.model with added Chinese pieces gives the ids of SentencePiece."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
import sentencepiece
import tiny_models
from sentencepiece import sentencepiece_model_pb2

from chatui.engine.codec import make_codec
from chatui.engine.tokenizers import load_tokenizer

WORDS = (
    "是不 不会 会飞 不是 以下 下是 是以 以情 对于 针对 "
    "可以 以用 输出 出了 白色 的白 色的 使用 用的 的是"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vocabulary merged as in merge_tokenizers.py of Chinese-LLaMA-Alpaca, and [PAD]."""
    written = io.BytesIO()
    hanzi = " ".join(dict.fromkeys("".join(WORDS)))
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter((*tiny_models.TEXTS, hanzi) * 20),
        model_writer=written,
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    made = sentencepiece_model_pb2.ModelProto()
    made.ParseFromString(written.getvalue())
    known = {piece.piece for piece in made.pieces}
    for word in WORDS:
        if word not in known:
            made.pieces.add(piece=word, score=0)
    folder = tmp_path_factory.mktemp("chinese-alpaca")
    (folder / "tokenizer.model").write_bytes(made.SerializeToString())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    return folder


def test_overlapping_pieces_of_equal_score(folder: Path) -> None:
    """Of two pieces of the same score the left one is chosen."""
    reference = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = load_tokenizer(folder, "llama")
    choose = random.Random(0)
    characters = "".join(WORDS)
    texts = ["".join(choose.choices(characters, k=12)) for _ in range(200)]
    texts += ["### Response: ", "", " ", "  a  b\n", "😀𠮷", "\t\x00\r\n"]
    for text in texts:
        assert tokenizer.encode(text) == [1, *reference.encode(text)], text
    assert len(tokenizer) == reference.get_piece_size() + 1
    assert tokenizer.pad_token_id == reference.get_piece_size()


def test_special_tokens_are_encoded_as_one_id(folder: Path) -> None:
    codec = make_codec(load_tokenizer(folder, "llama"))
    ids = codec.encode("a</s>b")
    assert ids[0] == 1
    assert ids[ids.index(2) - 1] == codec.encode("a")[-1]
    assert ids[ids.index(2) + 1 :] == codec.encode("b")[1:]


def test_the_stream_gives_the_text(folder: Path) -> None:
    codec = make_codec(load_tokenizer(folder, "llama"))
    for text in ("是不会飞 hello  world", "😀𠮷可以用\n\n输出了", "a"):
        detokenizer = codec.detokenizer()
        shown = "".join(detokenizer.add(id) for id in codec.encode(text)[1:])
        assert shown + detokenizer.flush() == text
