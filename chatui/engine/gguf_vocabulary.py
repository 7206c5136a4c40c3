"""The tokenizer of a GGUF file, through llama.cpp. Only imported in llama.cpp's process."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp

from chatui.engine.codec import Codec
from chatui.engine.detokenizer import BytesDetokenizer
from chatui.prompting.chat_template import ChatTemplate
from chatui.prompting.prompt_text import TokenFinder, encode, encode_continuation

_PIECE_BYTES = 4096
_SPACE_TOKENIZER = "llama"


class GgufVocabulary:
    """The tokenizer of a GGUF file.

    Attributes:
        control: spellings of the control tokens.
        eos_ids: tokens that end a reply.
    """

    def __init__(self, llama: Any) -> None:
        self._llama = llama
        self._model = llama._model
        self._vocabulary = llama._model.vocab
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        size = llama.n_vocab()
        control = [i for i in range(size) if llama_cpp.llama_vocab_is_control(self._vocabulary, i)]
        self.control = tuple(self._spelling(token) for token in control)
        ends = {*control, self._model.token_eos(), self._model.token_eot()} - {-1}
        self.eos_ids = frozenset(
            token for token in ends if llama_cpp.llama_vocab_is_eog(self._vocabulary, token)
        )

    def template(self) -> ChatTemplate:
        """Compile the file's chat template.

        Raises:
            ChatuiError: the template is invalid.
        """
        names = {
            "eos_token": self._spelling(self._model.token_eos()),
            "bos_token": self._spelling(self._model.token_bos()),
        }
        source = self._llama.metadata["tokenizer.chat_template"]
        return ChatTemplate.compiled(source, names, dict.fromkeys(self.control, True))

    def codec(self) -> Codec:
        """Return the codec of this tokenizer."""
        metadata, finder = self._llama.metadata, TokenFinder(self.control)
        # Decoding begins with a space that the text does not have.
        spaced = (
            metadata.get("tokenizer.ggml.model") == _SPACE_TOKENIZER
            and metadata.get("tokenizer.ggml.add_space_prefix", "true") == "true"
        )
        bos = self._spelling(self._model.token_bos())

        def tokenize(part: str, add_bos: bool = False) -> list[int]:
            ids: list[int] = self._llama.tokenize(part.encode(), add_bos=add_bos, special=True)
            return ids

        def encode_prompt(text: str) -> list[int]:
            add_bos = self._model.add_bos_token() and not (bos and text.startswith(bos))
            return encode(text, finder, lambda part: tokenize(part, add_bos), tokenize)

        return Codec(
            encode_prompt,
            lambda token: self._bytes(token).decode("utf-8", "replace") or self._spelling(token),
            lambda: BytesDetokenizer(self._bytes, strip_first_space=spaced),
            finder,
            lambda text: encode(
                text, finder, lambda part: encode_continuation(part, tokenize), tokenize
            ),
        )

    def _bytes(self, token: int) -> bytes:
        """Return the bytes of a token's text, none for a control token."""
        size = llama_cpp.llama_token_to_piece(
            self._vocabulary, token, self._buffer, _PIECE_BYTES, 0, False
        )
        return self._buffer.raw[: max(size, 0)]

    def _spelling(self, token: int) -> str:
        return self._model.token_get_text(token) if token >= 0 else ""
