"""ChatGLM-6B's tokenizer: SentencePiece over text whose white space was spelt out.

Written from the behaviour of THUDM/chatglm-6b's own tokenizer on transformers 4.28.1, the
version that it was made for, and equal to it in the ids and in the decoded text.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import sentencepiece
from transformers import AddedToken, PreTrainedTokenizer

from chatui.engine.architectures.chatglm.streaming import MAX_BLANKS, restore_whitespace
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import without_surrogates

# The number that the original takes where tokenizer_config.json says nothing.
DEFAULT_IMAGE_TOKENS = 20000
# The tokens that the original recognises in text, together with the white space around them.
SPLIT_TOKENS = {
    "bos_token": "<sop>",
    "eos_token": "<eop>",
    "mask_token": "[MASK]",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}


class ChatGLMTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """Tokenizer of ChatGLM-6B v1; a prompt's ids end with [gMASK] and <sop>.

    As in the original, `<sop>`, `<eop>`, `[MASK]`, `<pad>` and `<unk>` in a text become those
    special tokens, and `[gMASK]` and `</s>` stay text. Ids beyond the vocabulary, which the
    model's padded embedding can produce, decode to nothing.

    Args:
        vocab_file: the SentencePiece model, `ice_text.model`.
        num_image_tokens: how many ids stand before the first piece: 20000 in the oldest
            checkpoints, 0 later (where tokenizer_config.json says so).
        gmask_token: the token before <sop> in a prompt.
        eop_token: the name that the oldest checkpoints have for `eos_token`.

    Raises:
        ChatuiError: the SentencePiece model cannot be read.
    """

    vocab_files_names = {"vocab_file": "ice_text.model"}  # noqa: RUF012

    def __init__(
        self,
        vocab_file: str,
        num_image_tokens: int = DEFAULT_IMAGE_TOKENS,
        gmask_token: str = "[gMASK]",
        eop_token: str | None = None,
        model_specific_special_tokens: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        named = {key: str(token) for key, token in (model_specific_special_tokens or {}).items()}
        self.vocab_file = vocab_file
        self.num_image_tokens = num_image_tokens
        self.gmask_token = named.get("gmask_token", gmask_token)
        self.pieces = _load_pieces(vocab_file)
        eop_token = named.get("eop_token", eop_token)
        if eop_token is not None:
            kwargs["eos_token"] = eop_token
        added = dict(kwargs.pop("added_tokens_decoder", {}))
        for key, default in SPLIT_TOKENS.items():
            kwargs[key] = str(kwargs.get(key) or default)
            added[self._convert_token_to_id(kwargs[key])] = AddedToken(
                kwargs[key], lstrip=True, rstrip=True, special=True
            )
        kwargs["added_tokens_decoder"] = added
        kwargs.setdefault("clean_up_tokenization_spaces", True)
        super().__init__(**kwargs)

    @property
    def vocab_size(self) -> int:
        """Image tokens and pieces; the model's embedding has some more rows."""
        return self.num_image_tokens + int(self.pieces.get_piece_size())

    @property
    def gmask_token_id(self) -> int:
        """The id of [gMASK]."""
        return self._convert_token_to_id(self.gmask_token)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return {self._convert_id_to_token(index): index for index in range(self.vocab_size)}

    def get_vocab(self) -> dict[str, int]:
        """Every token with its id."""
        return {**self._vocabulary, **self._added_tokens_encoder}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        pieces: list[str] = self.pieces.encode(spell_whitespace(text), out_type=str)
        return pieces

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without special tokens around it.

        A text that spells no special token goes through SentencePiece alone, four times as fast as
        `encode` and with the same ids.
        """
        is_plain = [
            not any(token in text for token in self._added_tokens_encoder) for text in texts
        ]
        plain = [
            spell_whitespace(text) for text, alone in zip(texts, is_plain, strict=True) if alone
        ]
        found = iter(self.pieces.encode(plain, out_type=int))
        first = self.num_image_tokens
        return [
            [first + piece for piece in next(found)] if alone
            else self.encode(text, add_special_tokens=False)
            for text, alone in zip(texts, is_plain, strict=True)
        ]  # fmt: skip

    def _convert_token_to_id(self, token: str) -> int:
        if token.startswith("<image_") and token.endswith(">") and token[7:-1].isdigit():
            return int(token[7:-1])
        return int(self.pieces.piece_to_id(token)) + self.num_image_tokens

    def _convert_id_to_token(self, index: int) -> str:
        if index < self.num_image_tokens:
            return f"<image_{index}>"
        if index >= self.vocab_size:
            return ""
        return str(self.pieces.id_to_piece(index - self.num_image_tokens))

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """Join tokens into text, white space restored, punctuation not yet cleaned up."""
        known = [token for token in tokens if token]
        return restore_whitespace(self.pieces.decode_pieces(known) if known else "")

    def _decode(self, token_ids: int | list[int], *args: Any, **kwargs: Any) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        kept = [index for index in ids if index != self.pad_token_id]
        return str(super()._decode(kept, *args, **kwargs))

    def piece_text(self, token_id: int) -> str | None:
        """What one token adds to the raw text, before white space is restored.

        Returns:
            text, with "▁" for a space, "<0xE4>" for a byte, and empty for control tokens; None for
            an id beyond the vocabulary.
        """
        piece = token_id - self.num_image_tokens
        if piece < 0:
            return f"<image_{token_id}>"
        if token_id >= self.vocab_size:
            return None
        if self.pieces.is_control(piece):
            return ""
        token = str(self.pieces.id_to_piece(piece))
        return str(self.pieces.decode_pieces([token])) if self.pieces.is_unknown(piece) else token

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """A prompt: ids, [gMASK], <sop>; with a reply: its ids and <eop> behind them."""
        prompt = [*token_ids_0, self.gmask_token_id, self.bos_token_id]
        return prompt if token_ids_1 is None else [*prompt, *token_ids_1, self.eos_token_id]


def spell_whitespace(text: str) -> str:
    """Spell line ends, tabs and runs of spaces as the tokens that stand for them.

    Lone surrogates, which SentencePiece cannot take, become U+FFFD.
    """
    text = without_surrogates(text)
    text = text.replace("\n", "<n>").replace("\t", "<|tab|>")
    if "  " in text:
        for length in range(MAX_BLANKS, 1, -1):
            text = text.replace(" " * length, f"<|blank_{length}|>")
    return text


def _load_pieces(vocab_file: str) -> Any:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.load(str(vocab_file))
    except (OSError, RuntimeError, TypeError) as error:
        raise ChatuiError(say("chatglm.bad_tokenizer", file=vocab_file)) from error
    return processor
