"""Train small SentencePiece models like those of the checkpoints."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import sentencepiece
import tiny_models
from sentencepiece import sentencepiece_model_pb2

ENGLISH = (
    "A chat between a curious human and an artificial intelligence assistant.",
    "Write a response that appropriately completes the request. User: Bot: Human: Assistant:",
    "的一是了我不人在他有",
)
TEXTS = (*tiny_models.TEXTS, *ENGLISH)
EXTRA_HANZI = "春眠不觉晓处闻啼鸟夜来风雨声花落知多少白日依山尽黄河入海流"
CHATML = ("<|im_start|>", "<|im_end|>")


@cache
def llama() -> bytes:
    """LLaMA's ``tokenizer.model``: BPE with byte fallback, <unk> <s> </s> in front."""
    return _train(ENGLISH, vocab_size=360, model_type="bpe", character_coverage=1.0)


@cache
def chinese_llama() -> bytes:
    """LLaMA's, with Chinese pieces appended at score 0, as merge_tokenizers.py merges them."""
    made = sentencepiece_model_pb2.ModelProto()
    made.ParseFromString(llama())
    known = {piece.piece for piece in made.pieces}
    for hanzi in dict.fromkeys(EXTRA_HANZI):
        if hanzi not in known:
            made.pieces.add(piece=hanzi, score=0)
    data: bytes = made.SerializeToString()
    return data


@cache
def chatml() -> bytes:
    """A LLaMA-like model in which the marks of ChatML are pieces (Yi, MiniCPM3, InternLM3)."""
    return _train(
        TEXTS, vocab_size=420, model_type="bpe", character_coverage=1.0,
        user_defined_symbols=list(CHATML),
    )  # fmt: skip


@cache
def ice_text() -> bytes:
    """ChatGLM-6B's ``ice_text.model``, some hundred pieces in all."""
    return _train(
        TEXTS,
        vocab_size=560,
        hard_vocab_limit=False,
        pad_id=3,
        user_defined_symbols=["<n>", "<|tab|>", *(f"<|blank_{n}|>" for n in range(2, 81))],
        control_symbols=["[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>"],
    )


def count(pieces: bytes) -> int:
    return sentencepiece.SentencePieceProcessor(model_proto=pieces).get_piece_size()


def id_of(pieces: bytes, piece: str) -> int:
    return sentencepiece.SentencePieceProcessor(model_proto=pieces).piece_to_id(piece)


def _train(texts: tuple[str, ...], **options: Any) -> bytes:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 20),
        model_writer=written,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
        **options,
    )
    return written.getvalue()
