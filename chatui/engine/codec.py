"""Between text and token ids: one codec for each loaded model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatui.engine.detokenizer import (
    BytesDetokenizer,
    Detokenizer,
    SentencePieceDetokenizer,
    WindowDetokenizer,
    WordPieceDetokenizer,
    byte_level,
)
from chatui.prompting.prompt_text import TokenFinder, continued, encode


@dataclass(frozen=True)
class Codec:
    """How one model's tokenizer is used.

    Attributes:
        encode: prompt -> ids, the special tokens that begin a prompt included.
        piece: id -> token as the vocabulary spells it.
        detokenizer: a new detokeniser for a reply.
        special: finds the spellings of special tokens.
        encode_continuation: text in the middle of a prompt or a reply -> ids; None if that makes no
            difference.
    """

    encode: Callable[[str], list[int]]
    piece: Callable[[int], str]
    detokenizer: Callable[[], Detokenizer]
    special: TokenFinder = field(default_factory=lambda: TokenFinder(()))
    encode_continuation: Callable[[str], list[int]] | None = None

    def encode_reply(self, text: str) -> list[int]:
        """Token ids of the text of a reply, which stands behind a prompt."""
        return (self.encode_continuation or self.encode)(text)


def make_codec(tokenizer: Any, *, special_tokens: bool = True) -> Codec:
    """The codec of a transformers tokenizer.

    Args:
        tokenizer: any ``PreTrainedTokenizerBase``.
        special_tokens: put the tokenizer's own first tokens (BOS) before a prompt; False if
            the prompt spells them itself, as chat templates do.
    """
    kind = decoder_kinds(tokenizer)
    skipped = special_ids(tokenizer)
    size = len(tokenizer)
    added = added_tokens(tokenizer)
    finder = TokenFinder([token for token in added if not token.isspace()], any_width=True)
    has_first = adds_special_tokens(tokenizer, special_tokens=special_tokens)

    def first(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=has_first)
        if has_first and ids and ids[-1] == tokenizer.eos_token_id and appends_eos(tokenizer):
            ids.pop()
        return ids

    def later(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    def piece(token: int) -> str:
        return pieces(token) or ""

    def pieces(token: int) -> str | None:
        return tokenizer.convert_ids_to_tokens(token) if 0 <= token < size else None

    def detokenizer() -> Detokenizer:
        if "ByteLevel" in kind:
            return BytesDetokenizer(byte_level(pieces, skipped, tokenizer.added_tokens_decoder))
        if "ByteFallback" in kind or "Metaspace" in kind:
            return SentencePieceDetokenizer(
                pieces, skipped, strip_first_space="Strip" in kind or "Metaspace" in kind
            )
        if "WordPiece" in kind:
            return WordPieceDetokenizer(pieces, skipped)
        return WindowDetokenizer(decode)

    def decode(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    return Codec(
        lambda text: encode(text, finder, first, later),
        piece,
        detokenizer,
        TokenFinder([token for token, special in added.items() if special]),
        lambda text: encode(text, finder, lambda part: continued(part, later), later),
    )


def adds_special_tokens(tokenizer: Any, *, special_tokens: bool = True) -> bool:
    """Whether a prompt is encoded with the tokenizer's own special tokens; see :func:`make_codec`.

    BertTokenizer's [CLS] and [SEP] are dropped, as gpt2-chinese's encode(text)[1:-1] does.
    """
    return special_tokens and "WordPiece" not in decoder_kinds(tokenizer)


def added_tokens(tokenizer: Any) -> dict[str, bool]:
    """The spellings that become one token each wherever they stand, and whether it is special."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return {token.content: bool(token.special) for token in added} | dict.fromkeys(
        map(str, tokenizer.all_special_tokens), True
    )


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that are no text."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    return frozenset(id for id, token in added.items() if token.special) | frozenset(
        tokenizer.all_special_ids
    )


def decoder_kinds(tokenizer: Any) -> frozenset[str]:
    """Names of the steps of a tokenizer's decoder, as the ``tokenizers`` library calls them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None:
        return (
            frozenset({"ByteFallback", "Strip"}) if hasattr(tokenizer, "sp_model") else frozenset()
        )
    state = json.loads(backend.decoder.__getstate__())
    return frozenset(step["type"] for step in state.get("decoders", [state]))


def appends_eos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts EOS behind a text."""
    ids: list[int] = tokenizer.encode("", add_special_tokens=True)
    return bool(ids) and ids[-1] == tokenizer.eos_token_id
