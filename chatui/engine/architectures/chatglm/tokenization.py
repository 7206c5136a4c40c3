"""ChatGLM-6B's tokenizer: SentencePiece, with tokens for white space.

Token ids and decoded text equal those of THUDM/chatglm-6b's own tokenizer on transformers 4.28.1,
the version that it was made for. The steps of its decode, in order:
- SentencePiece turns runs of byte pieces into characters, and drops spaces at the start;
- "<n>", "<|tab|>" and "<|blank_2|>" … "<|blank_80|>" become white space;
- transformers' clean_up_tokenization_spaces removes the space before some punctuation.
When streaming, each step is a filter that returns the text that can no longer change, and holds
back at most a dozen characters. The cost of a token does not depend on the text before it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import Any

import sentencepiece
from transformers import AddedToken, PreTrainedTokenizer

from chatui.engine.detokenizer import SPACE, SentencePieceDetokenizer
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import without_surrogates

# The original's default, if tokenizer_config.json has no num_image_tokens.
DEFAULT_IMAGE_TOKENS = 20000
# Special tokens that the original recognises in text, with the white space around them.
SPLIT_TOKENS = {
    "bos_token": "<sop>",
    "eos_token": "<eop>",
    "mask_token": "[MASK]",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
}

MAX_BLANKS = 80
WHITESPACE = {"<n>": "\n", "<|tab|>": "\t"} | {
    f"<|blank_{n}|>": " " * n for n in range(2, MAX_BLANKS + 1)
}
# Replacements in the order of transformers' PreTrainedTokenizerBase.clean_up_tokenization.
CLEAN_UP = (
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
)

_MARKUP = re.compile("|".join(re.escape(token) for token in WHITESPACE))


class ChatGLMTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """Tokenizer of ChatGLM-6B v1; a prompt's ids end with [gMASK] and <sop>.

    As in the original, `<sop>`, `<eop>`, `[MASK]`, `<pad>` and `<unk>` in a text become special
    tokens, while `[gMASK]` and `</s>` are plain text. Ids beyond the vocabulary, which the model's
    padded embedding can produce, decode to an empty text.

    Args:
        vocab_file: the SentencePiece model, `ice_text.model`.
        num_image_tokens: number of ids before the first piece: 20000 in the oldest checkpoints, 0
            in later ones, which say so in tokenizer_config.json.
        gmask_token: the token before <sop> in a prompt.
        eop_token: the name of `eos_token` in the oldest checkpoints.

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
        """Number of image tokens and pieces; the model's embedding has more rows."""
        return self.num_image_tokens + int(self.pieces.get_piece_size())

    @property
    def gmask_token_id(self) -> int:
        """The id of [gMASK]."""
        return self._convert_token_to_id(self.gmask_token)

    @cached_property
    def _vocabulary(self) -> dict[str, int]:
        return {self._convert_id_to_token(index): index for index in range(self.vocab_size)}

    def get_vocab(self) -> dict[str, int]:
        """Return all tokens with their ids."""
        return {**self._vocabulary, **self._added_tokens_encoder}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        pieces: list[str] = self.pieces.encode(spell_whitespace(text), out_type=str)
        return pieces

    def encode_texts(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text, without the special tokens of a prompt.

        Texts without special tokens are encoded by SentencePiece directly, which is four times as
        fast as `encode` and gives the same ids.
        """
        special = self._added_tokens_encoder
        is_plain = [not any(token in text for token in special) for text in texts]
        plain = [spell_whitespace(text) for text in compress(texts, is_plain)]
        encoded = iter(self.pieces.encode(plain, out_type=int))
        first = self.num_image_tokens
        return [
            [first + piece for piece in next(encoded)] if direct
            else self.encode(text, add_special_tokens=False)
            for text, direct in zip(texts, is_plain, strict=True)
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
        """Join tokens into text with its white space, before the clean-up of punctuation."""
        return restore_whitespace(self.pieces.decode_pieces([*filter(None, tokens)]))

    def _decode(self, token_ids: int | list[int], *args: Any, **kwargs: Any) -> str:
        ids = [token_ids] if isinstance(token_ids, int) else token_ids
        kept = [index for index in ids if index != self.pad_token_id]
        return str(super()._decode(kept, *args, **kwargs))

    def piece_text(self, token_id: int) -> str | None:
        """Return the raw text of one token, before white space is restored.

        It has "▁" for a space, "<0xE4>" for a byte, and is "" for control tokens; None for an id
        beyond the vocabulary.
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
        """Return a prompt's ids with [gMASK] and <sop>, then a reply's ids with <eop> if given."""
        prompt = [*token_ids_0, self.gmask_token_id, self.bos_token_id]
        return prompt if token_ids_1 is None else [*prompt, *token_ids_1, self.eos_token_id]


def spell_whitespace(text: str) -> str:
    """Replace line ends, tabs and runs of spaces by their tokens' spellings.

    Lone surrogates become U+FFFD, because SentencePiece accepts none.
    """
    text = without_surrogates(text).replace("\n", "<n>").replace("\t", "<|tab|>")
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


def restore_whitespace(text: str) -> str:
    """Replace the tokens for line ends, tabs and runs of spaces by that white space."""
    return _MARKUP.sub(lambda match: WHITESPACE[match[0]], text)


class _StreamingReplacement:
    """A streaming replacement of all occurrences of some texts, as by ``str.replace`` for one."""

    def __init__(self, replacements: Mapping[str, str]) -> None:
        self._replacements = replacements
        self._pattern = re.compile("|".join(map(re.escape, replacements)))
        self._starts = {old[:n] for old in replacements for n in range(1, len(old))}
        self._longest = max(map(len, self._starts))
        self._held = ""

    def push(self, text: str) -> str:
        """Add text; return the text that can no longer change."""
        text = self._held + text
        parts: list[str] = []
        end = 0
        for match in self._pattern.finditer(text):
            parts += text[end : match.start()], self._replacements[match[0]]
            end = match.end()
        first = max(end, len(text) - self._longest)
        held = next((n for n in range(first, len(text)) if text[n:] in self._starts), len(text))
        self._held = text[held:]
        return "".join((*parts, text[end:held]))

    def flush(self) -> str:
        """Return the text held back, at the end of the input."""
        held, self._held = self._held, ""
        return held


class ChatGLMStreamCleaner:
    """A streaming filter from SentencePiece's raw text to the final text.

    Args:
        clean_up: whether to remove spaces before punctuation, as the original does.
    """

    def __init__(self, clean_up: bool = True) -> None:
        rules = [{old: new} for old, new in CLEAN_UP] if clean_up else []
        self._filters = [_StreamingReplacement(rule) for rule in (WHITESPACE, *rules)]

    def push(self, text: str) -> str:
        """Add raw text; return the text that can no longer change."""
        for filter_ in self._filters:
            text = filter_.push(text)
        return text

    def flush(self) -> str:
        """Return the text held back, at the end of the input."""
        text = ""
        for filter_ in self._filters:
            text = filter_.push(text) + filter_.flush()
        return text


class ChatGLMDetokenizer(SentencePieceDetokenizer):
    """A streaming decoder whose joined output equals `tokenizer.decode(ids)`.

    Args:
        tokenizer: a `ChatGLMTokenizer`.
        skipped: ids without text.
    """

    def __init__(self, tokenizer: Any, skipped: Collection[int]) -> None:
        super().__init__(self._piece, skipped, strip_first_space=False)
        self._piece_text = tokenizer.piece_text
        self._skipped = skipped
        self._cleaner = ChatGLMStreamCleaner(tokenizer.clean_up_tokenization_spaces)
        self._at_start = True

    def _piece(self, token: int) -> str | None:
        piece: str | None = self._piece_text(token)
        # SentencePiece drops the spaces that a text begins with.
        leads = self._at_start and not self.within_character
        return piece.removeprefix(SPACE) if leads and piece else piece

    def add(self, token: int) -> str:
        # A control token ends a run of bytes.
        ends = token not in self._skipped and self._piece_text(token) == ""
        text = super().flush() if ends else super().add(token)
        self._at_start = self._at_start and not text
        return self._cleaner.push(text)

    def flush(self) -> str:
        return self._cleaner.push(super().flush()) + self._cleaner.flush()
