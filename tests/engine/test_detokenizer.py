"""Streaming text against the tokenizers' own final decode."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
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
    """GPT-2's, Qwen's and BLOOM's kind, trained on the spot on too little to know rare hanzi."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS[:2], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    fast.add_tokens([AddedToken("<think>", normalized=False), AddedToken("思考", normalized=False)])
    return fast


@pytest.fixture(scope="module")
def byte_fallback() -> Any:
    """LLaMA's kind: SentencePiece BPE with byte fallback, as transformers converts it."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=[*specials, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXTS[0], TEXTS[1]], trainer)
    # Bytes are ordinary tokens of the vocabulary, not special ones.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] in specials]
    bare = Tokenizer.from_str(json.dumps(data))
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def test_byte_level_joins_to_the_decode(byte_level: Any) -> None:
    codec = make_codec(byte_level)
    for text in TEXTS:
        ids = byte_level.encode(text + "<think>思考</think>")
        assert streamed(codec, ids) == byte_level.decode(ids, skip_special_tokens=True)


def test_byte_level_on_any_tokens_at_all(byte_level: Any) -> None:
    codec = make_codec(byte_level)
    for seed in range(50):
        dice = random.Random(seed)
        ids = [dice.randrange(len(byte_level)) for _ in range(60)]
        assert streamed(codec, ids) == byte_level.decode(ids, skip_special_tokens=True), seed


def test_byte_fallback_joins_to_the_decode(byte_fallback: Any) -> None:
    codec = make_codec(byte_fallback)
    for text in TEXTS:
        ids = byte_fallback.encode(text)
        assert streamed(codec, ids) == byte_fallback.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("tokenizer", ["byte_level", "byte_fallback"])
def test_never_half_a_character_and_none_late(
    tokenizer: str, request: pytest.FixtureRequest
) -> None:
    """Each token shows all characters that are whole with it."""
    made = request.getfixturevalue(tokenizer)
    for text in TEXTS:
        ids = made.encode(text)
        detokenizer = make_codec(made).detokenizer()
        shown = ""
        for count, id in enumerate(ids, 1):
            shown += detokenizer.add(id)
            whole = made.decode(ids[:count], skip_special_tokens=True)
            assert "\ufffd" not in shown
            # The decoders give up on a whole run of bytes where one is missing; we do not.
            if "\ufffd" not in whole:
                assert shown == whole


@pytest.mark.parametrize("tokenizer", ["byte_level", "byte_fallback"])
def test_bytes_that_make_no_character_are_replaced_at_the_end(
    tokenizer: str, request: pytest.FixtureRequest
) -> None:
    made = request.getfixturevalue(tokenizer)
    ids = made.encode("月😀")[:-1]
    text = streamed(make_codec(made), ids)
    assert text.startswith("月\ufffd")
    assert set(text[1:]) == {"\ufffd"}


@pytest.fixture(scope="module")
def pieces_with_bytes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A real SentencePiece model with byte fallback, as LLaMA's."""
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


def test_bytes_are_read_as_sentencepiece_reads_them(pieces_with_bytes: Any) -> None:
    """Runs of any bytes among other pieces, and real text cut off in the middle."""
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
def test_an_added_token_is_its_own_spelling(special: bool) -> None:
    """Its letters may lie in the byte alphabet, where "é" stands for the byte 0xE9."""
    texts = ["café", "naïve", "ß", "Ä", "ÅÄÖ", "Ġ", "ĊĊ", "¡olé!", "a", "中é"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS[:2], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
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
def test_the_window_joins_to_the_decode(tokenizer: str, request: pytest.FixtureRequest) -> None:
    made = request.getfixturevalue(tokenizer)
    for text in TEXTS:
        ids = made.encode(text)
        window = WindowDetokenizer(made.decode)
        assert "".join(window.add(id) for id in ids) + window.flush() == made.decode(ids)


def test_an_id_outside_of_the_vocabulary_is_no_text(byte_level: Any) -> None:
    assert streamed(make_codec(byte_level), [10**6, -1, len(byte_level)]) == ""
