"""Streamed text equals the tokenizers' own decode of the whole reply."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tiny_models
from tokenizers import AddedToken
from transformers import BertTokenizer, PreTrainedTokenizerFast

from chatui.engine.codec import Codec, decoder_kinds, make_codec
from chatui.engine.detokenizer import SentencePieceDetokenizer, WindowDetokenizer

TEXTS = (
    "床前明月光，疑是地上霜。",
    "Hello, world! It's 3.14 — naïve café.",
    "𠮷野家 👨‍👩‍👧‍👦 🇨🇳 emoji 😀😃",
    "def f(x):\n    return x + 1\n\n\n",
    "混合 mixed 文本，with 空格  two   three",
    "龘靐齉爩 한국어 日本語 العربية",
    "\t\ttabs\r\nand\x00NUL \u200b zero width",
    " leading and trailing ",
)


def streamed(codec: Codec, ids: list[int]) -> str:
    detokenizer = codec.detokenizer()
    pieces = [detokenizer.add(id) for id in ids]
    pieces.append(detokenizer.flush())
    return "".join(pieces)


@pytest.fixture(scope="module")
def byte_level() -> Any:
    """A byte-level tokenizer with two added tokens."""
    tokenizer = tiny_models.byte_level_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>")
    added = [AddedToken(token, normalized=False) for token in ("<think>", "思考")]
    tokenizer.add_tokens(added)
    return tokenizer


@pytest.fixture(scope="module")
def byte_fallback() -> Any:
    """LLaMA's tokenizer, SentencePiece BPE with byte fallback, as converted by transformers."""
    return tiny_models.byte_fallback_tokenizer()


def test_byte_level_streams_the_decoded_text(byte_level: Any) -> None:
    codec = make_codec(byte_level)
    for text in TEXTS:
        ids = byte_level.encode(text + "<think>思考</think>")
        assert streamed(codec, ids) == byte_level.decode(ids, skip_special_tokens=True)


def test_byte_level_streams_random_tokens(byte_level: Any) -> None:
    codec = make_codec(byte_level)
    for seed in range(50):
        dice = random.Random(seed)
        ids = [dice.randrange(len(byte_level)) for _ in range(60)]
        assert streamed(codec, ids) == byte_level.decode(ids, skip_special_tokens=True), seed


def test_byte_fallback_streams_the_decoded_text(byte_fallback: Any) -> None:
    codec = make_codec(byte_fallback)
    for text in TEXTS:
        ids = byte_fallback.encode(text)
        assert streamed(codec, ids) == byte_fallback.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("tokenizer", ["byte_level", "byte_fallback"])
def test_characters_are_shown_as_soon_as_they_are_whole(
    tokenizer: str, request: pytest.FixtureRequest
) -> None:
    """Each token shows the characters that it completes."""
    made = request.getfixturevalue(tokenizer)
    for text in TEXTS:
        ids = made.encode(text)
        detokenizer = make_codec(made).detokenizer()
        shown = ""
        for count, id in enumerate(ids, 1):
            shown += detokenizer.add(id)
            whole = made.decode(ids[:count], skip_special_tokens=True)
            assert "\ufffd" not in shown
            # The libraries' decoders replace a whole run of bytes if one is missing.
            if "\ufffd" not in whole:
                assert shown == whole


@pytest.mark.parametrize("tokenizer", ["byte_level", "byte_fallback"])
def test_incomplete_characters_become_replacement_characters(
    tokenizer: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(tokenizer)
    ids = made.encode("月😀")[:-1]
    text = streamed(make_codec(made), ids)
    assert text.startswith("月\ufffd")
    assert set(text[1:]) == {"\ufffd"}


@pytest.fixture(scope="module")
def pieces_with_bytes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A SentencePiece model with byte fallback, like LLaMA's."""
    prefix = tmp_path_factory.mktemp("sentencepiece") / "tiny"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(list(TEXTS[:2]) * 20),
        model_prefix=str(prefix),
        vocab_size=320,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=f"{prefix}.model")


def test_bytes_decode_as_in_sentencepiece(pieces_with_bytes: Any) -> None:
    """For random bytes among other pieces, and for text cut within a character."""
    library = pieces_with_bytes
    for seed in range(60):
        dice = random.Random(seed)
        ids = [dice.randrange(3, library.get_piece_size()) for _ in range(40)]
        if seed % 2:
            text = "".join(dice.choices("龘靐𠮷😀月 a1，", k=20))
            ids = library.encode(text)[: -dice.randint(1, 3)]
        detokenizer = SentencePieceDetokenizer(library.id_to_piece, {0, 1, 2})
        shown = "".join(detokenizer.add(id) for id in ids) + detokenizer.flush()
        assert shown == library.decode(ids)


@pytest.mark.parametrize("special", [False, True])
def test_added_tokens_are_plain_text(special: bool) -> None:
    """Even if their letters are in the byte alphabet, in which "é" stands for the byte 0xE9."""
    texts = ["café", "naïve", "ß", "Ä", "ÅÄÖ", "Ġ", "ĊĊ", "¡olé!", "a", "中é"]
    fast = tiny_models.byte_level_tokenizer([])
    added = [AddedToken(text, special=special, normalized=False) for text in texts]
    fast.add_tokens(added, special_tokens=special)
    codec = make_codec(fast)
    half = codec.encode("月")[:-1]
    for text in texts:
        ids = codec.encode(f"月{text}光")
        (own,) = (id for id in ids if fast.convert_ids_to_tokens(id) == text)
        shown = "" if special else text
        assert streamed(codec, ids) == f"月{shown}光"
        assert streamed(codec, [*half, own]).endswith(f"\ufffd{shown}")


def test_chinese_llama_pieces(reference: Path) -> None:
    library = sentencepiece.SentencePieceProcessor(
        model_file=str(reference / "tokenizers" / "chinese-llama.sp.model")
    )
    for text in TEXTS[:5]:
        ids = [id for id in library.encode(text) if not library.is_unknown(id)]
        detokenizer = SentencePieceDetokenizer(library.id_to_piece, {0, 1, 2})
        text = "".join(detokenizer.add(id) for id in ids) + detokenizer.flush()
        assert text == library.decode(ids)


def test_wordpiece_keeps_the_spaces_of_latin_text(reference: Path) -> None:
    tokenizer = BertTokenizer(str(reference / "tokenizers" / "gpt2-chinese.vocab.txt"))
    codec = make_codec(tokenizer)
    for text in (
        "hello, world!",
        "he said: 3.14 and 1,000 (about 10:30) are fine.",
        "don't stop, it's \"the one\" they've got; we'll go.",
        "\"hi\" he said, 'no'.",
        "a well-known co-op at www.example.com",
        "it's 5 o'clock: 1, 2, 10:30, 11:45, 12,345,678",
        "rock 'n' roll, he's 'a' b, 'it's ok' he, the dogs'",
        "wait... what?! 100% of $5 [see #7]",
        "春眠不觉晓,处处闻啼鸟。hello, world! 好",
    ):
        assert streamed(codec, codec.encode(text)) == text.replace(" 好", "好")


def test_wordpiece_drops_the_spaces_between_hanzi(reference: Path) -> None:
    tokenizer = BertTokenizer(str(reference / "tokenizers" / "gpt2-chinese.vocab.txt"))
    assert "WordPiece" in decoder_kinds(tokenizer)
    codec = make_codec(tokenizer)
    ids = codec.encode("早餐太差，无论去多少人！hello world 2023年")
    assert ids == tokenizer.encode("早餐太差，无论去多少人！hello world 2023年")[1:-1]
    assert streamed(codec, ids) == "早餐太差，无论去多少人！hello world 2023年"
    hanzi = codec.encode("游泳池和健身房还不错！")
    assert streamed(codec, hanzi) == tokenizer.decode(hanzi).replace(" ", "")
    assert streamed(codec, [0, 102, *hanzi, 101]) == streamed(codec, hanzi)


def test_rwkv_tokenizer(reference: Path) -> None:
    fast = PreTrainedTokenizerFast(
        tokenizer_file=str(reference / "tokenizers" / "rwkv-20B_tokenizer.json")
    )
    for text in TEXTS:
        ids = fast.encode(text)
        assert streamed(make_codec(fast), ids) == fast.decode(ids)


@pytest.mark.parametrize("tokenizer", ["byte_level", "byte_fallback"])
def test_the_window_detokenizer_streams_the_decoded_text(
    tokenizer: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(tokenizer)
    for text in TEXTS:
        ids = made.encode(text)
        window = WindowDetokenizer(made.decode)
        assert "".join(window.add(id) for id in ids) + window.flush() == made.decode(ids)


def test_ids_outside_the_vocabulary_are_skipped(byte_level: Any) -> None:
    assert streamed(make_codec(byte_level), [10**6, -1, len(byte_level)]) == ""
