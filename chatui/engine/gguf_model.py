"""A GGUF model in llama.cpp: its network and its tokenizer.

Only imported in llama.cpp's process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import llama_cpp
import numpy as np
import torch
from torch import Tensor

from chatui.catalog.gguf import CHUNK_TOKENS
from chatui.engine.codec import Codec
from chatui.engine.detokenizer import BytesDetokenizer
from chatui.engine.model import Network, common_prefix
from chatui.prompting.chat_template import ChatTemplate
from chatui.prompting.prompt_text import TokenFinder, encode, encode_continuation

_PIECE_BYTES = 4096
_SPACE_TOKENIZER = "llama"


class GgufNetwork:
    """llama.cpp's context: a network and its only KV cache in one object.

    For the methods, see :class:`chatui.engine.model.Network` and ``PromptCache``. Logits are views
    of llama.cpp's memory, valid until the next read.
    """

    reuses_prefix = True

    def __init__(self, llama: Any, held_bytes: int) -> None:
        """
        Args:
            held_bytes: size of the KV cache, which llama.cpp allocates at once.
        """
        self.held_bytes = held_bytes
        self._llama = llama
        self._context = llama._ctx
        self._chunked: list[int] = []

    def new_cache(self) -> GgufNetwork:
        self._keep(())
        return self

    def take(self, network: Network, ids: Sequence[int]) -> tuple[GgufNetwork, int]:
        return self, self._keep(ids)

    def put(self, network: Network, cache: GgufNetwork, ids: list[int]) -> None:
        pass

    def get_seq_length(self) -> int:
        length: int = self._llama.n_tokens
        return length

    def position_rows(self, length: int) -> tuple[tuple[int, ...], ...]:
        return (tuple(range(length)),)

    def prefill(
        self, ids: Sequence[int], cache: GgufNetwork, stop_wanted: Callable[[], bool]
    ) -> Tensor | None:
        abort = llama_cpp.ggml_abort_callback(lambda _: stop_wanted())
        llama_cpp.llama_set_abort_callback(self._context.ctx, abort, None)
        try:
            for start in range(self.get_seq_length(), len(ids), CHUNK_TOKENS):
                chunk = list(ids[start : start + CHUNK_TOKENS])
                if stop_wanted():
                    return None
                try:
                    self._llama.eval(chunk)
                except RuntimeError:
                    if stop_wanted():
                        return None
                    raise
                if len(chunk) == CHUNK_TOKENS:
                    self._chunked += chunk
        finally:
            llama_cpp.llama_set_abort_callback(
                self._context.ctx, llama_cpp.ggml_abort_callback(0), None
            )
        return self._logits()

    def step(self, token: int, cache: GgufNetwork) -> Tensor:
        self._llama.eval([token])
        return self._logits()

    def _logits(self) -> Tensor:
        pointer = self._context.get_logits_ith(-1)
        return torch.from_numpy(np.ctypeslib.as_array(pointer, (self._llama.n_vocab(),)))

    def _keep(self, ids: Sequence[int]) -> int:
        """Keep the leading whole chunks that ``ids`` share with the KV cache, and clear the rest.

        llama.cpp computes single tokens with other kernels than batches (logits differ by up to
        1.0), so the reply is the same as without a cache only if the chunks are.
        """
        # The last token must be read again for its logits.
        shared = common_prefix(self._chunked, ids[:-1]) // CHUNK_TOKENS * CHUNK_TOKENS
        memory = self._context.memory
        if shared and (
            # A sliding window may have dropped the first tokens; a recurrent state cannot go back.
            llama_cpp.llama_memory_seq_pos_min(memory, 0) > 0
            or not self._context.kv_cache_seq_rm(-1, shared, -1)
        ):
            shared = 0
        if not shared:
            llama_cpp.llama_memory_clear(memory, True)
        self._llama.n_tokens = shared
        self._chunked = list(ids[:shared])
        return shared


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
