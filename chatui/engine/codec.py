"""Encoding of text and decoding of tokens: one codec for each loaded model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chatui.engine.detokenizer import (
    BytesDetokenizer,
    Detokenizer,
    SentencePieceDetokenizer,
    WindowDetokenizer,
    WordPieceDetokenizer,
    byte_level,
)
from chatui.prompting.prompt_text import TokenFinder, encode, encode_continuation


@dataclass(frozen=True)
class Codec:
    """The functions of one model's tokenizer.

    Attributes:
        encode: prompt -> ids, including the special tokens that begin a prompt.
        piece: id -> token as spelled in the vocabulary.
        detokenizer: returns a new detokeniser for one reply.
        special: finds the spellings of special tokens in a text.
        encode_continuation: text that follows other text -> ids; None to use ``encode``.
    """

    encode: Callable[[str], list[int]]
    piece: Callable[[int], str]
    detokenizer: Callable[[], Detokenizer]
    special: TokenFinder = field(default_factory=lambda: TokenFinder(()))
    encode_continuation: Callable[[str], list[int]] | None = None

    def encode_reply(self, text: str) -> list[int]:
        """Return the token ids of a reply's text, which follows a prompt."""
        return (self.encode_continuation or self.encode)(text)


def make_codec(tokenizer: Any, *, special_tokens: bool = True) -> Codec:
    """Return the codec of a transformers tokenizer.

    Args:
        tokenizer: any ``PreTrainedTokenizerBase``.
        special_tokens: whether to put the tokenizer's first tokens (BOS) before a prompt; False if
            the prompt contains them, as chat templates do.
    """
    kinds = decoder_kinds(tokenizer)
    skipped = special_ids(tokenizer)
    size = len(tokenizer)
    added = added_tokens(tokenizer)
    finder = TokenFinder([token for token in added if not token.isspace()], any_width=True)
    with_special = adds_special_tokens(tokenizer, special_tokens=special_tokens)

    def encode_start(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=with_special)
        if with_special and ids and ids[-1] == tokenizer.eos_token_id and appends_eos(tokenizer):
            ids.pop()
        return ids

    encode_rest: Callable[[str], list[int]] = partial(tokenizer.encode, add_special_tokens=False)

    def pieces(token: int) -> str | None:
        return tokenizer.convert_ids_to_tokens(token) if 0 <= token < size else None

    def detokenizer() -> Detokenizer:
        if "ByteLevel" in kinds:
            return BytesDetokenizer(byte_level(pieces, skipped, tokenizer.added_tokens_decoder))
        if "ByteFallback" in kinds or "Metaspace" in kinds:
            return SentencePieceDetokenizer(
                pieces, skipped, strip_first_space="Strip" in kinds or "Metaspace" in kinds
            )
        if "WordPiece" in kinds:
            return WordPieceDetokenizer(pieces, skipped)
        return WindowDetokenizer(partial(tokenizer.decode, skip_special_tokens=True))

    return Codec(
        lambda text: encode(text, finder, encode_start, encode_rest),
        lambda token: pieces(token) or "",
        detokenizer,
        TokenFinder([token for token, special in added.items() if special]),
        lambda text: encode(
            text, finder, lambda part: encode_continuation(part, encode_rest), encode_rest
        ),
    )


def adds_special_tokens(tokenizer: Any, *, special_tokens: bool = True) -> bool:
    """True if prompts are encoded with the tokenizer's special tokens; see :func:`make_codec`.

    BertTokenizer's [CLS] and [SEP] are left out, as in gpt2-chinese's encode(text)[1:-1].
    """
    return special_tokens and "WordPiece" not in decoder_kinds(tokenizer)


def added_tokens(tokenizer: Any) -> dict[str, bool]:
    """Return the added tokens' spellings, each encoded as one token, and if they are special."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return {token.content: bool(token.special) for token in added} | dict.fromkeys(
        map(str, tokenizer.all_special_tokens), True
    )


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Return the ids of special tokens, which are left out of the text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(id for id, token in added.items() if token.special) | frozenset(
        tokenizer.all_special_ids
    )


def decoder_kinds(tokenizer: Any) -> frozenset[str]:
    """Return the types of the steps of a tokenizer's decoder, as named by ``tokenizers``."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return (
            frozenset({"ByteFallback", "Strip"}) if hasattr(tokenizer, "sp_model") else frozenset()
        )
    state = json.loads(backend.decoder.__getstate__())
    return frozenset(step["type"] for step in state.get("decoders", [state]))


def appends_eos(tokenizer: Any) -> bool:
    """True if the tokenizer appends EOS to a text."""
    ids: list[int] = tokenizer.encode("", add_special_tokens=True)
    return bool(ids) and ids[-1] == tokenizer.eos_token_id
