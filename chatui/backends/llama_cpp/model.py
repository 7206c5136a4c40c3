"""One GGUF file in llama.cpp: its vocabulary, its template, and reading tokens into the KV cache.

Imported in llama.cpp's own process alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
import psutil

from chatui.catalog.gguf import read_gguf
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.chat_template import ChatTemplate
from chatui.prompting.prompt_text import TokenFinder, encode

CHUNK_TOKENS = 128
"""A prompt is read in pieces that begin at multiples of this, always the same ones."""

MOST_CONTEXT_TOKENS = 8192
"""The KV cache is allocated whole, so a model's longest window is not taken unasked."""

_LOG_LEVEL_ERROR = 4
_PIECE_BYTES = 256
_SPACE_TOKENIZER = "llama"

# llama.cpp tells why a file cannot be loaded in its log alone.
_last_errors: deque[str] = deque(maxlen=8)


def _on_log(level: int, text: bytes, _: object) -> None:
    if level == _LOG_LEVEL_ERROR:
        line = text.decode("utf-8", "replace")
        _last_errors.append(line.strip())
        print(line, end="", file=sys.stderr, flush=True)


# llama.cpp keeps the pointer, so the callback must live as long.
_log_callback = llama_cpp.llama_log_callback(_on_log)
llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))


class GgufModel:
    """A loaded GGUF file.

    Args:
        path: the file.
        context_limit: tokens; None takes the model's own, up to ``MOST_CONTEXT_TOKENS``.
        on_cpu: keep all layers on the CPU even where llama.cpp could use a GPU.

    Raises:
        ChatuiError: the file is missing, is no GGUF file, is damaged, or holds an architecture
            that this llama.cpp does not know.
    """

    def __init__(self, path: Path, context_limit: int | None, on_cpu: bool) -> None:
        trained = _trained_context(path)
        self.path = path
        self.on_gpu = llama_cpp.llama_supports_gpu_offload() and not on_cpu
        threads = thread_count()
        _last_errors.clear()
        try:
            self._llama: Any = llama_cpp.Llama(
                str(path),
                n_ctx=context_limit or min(trained or MOST_CONTEXT_TOKENS, MOST_CONTEXT_TOKENS),
                n_batch=CHUNK_TOKENS,
                n_ubatch=CHUNK_TOKENS,
                n_threads=threads,
                n_threads_batch=threads,
                n_gpu_layers=-1 if self.on_gpu else 0,
                verbose=False,
            )
        except (ValueError, RuntimeError, UnicodeError) as error:
            raise ChatuiError(_why_not(path)) from error
        self._context: Any = self._llama._ctx
        self._model: Any = self._llama._model
        self._vocabulary: Any = self._model.vocab
        self._chunked: list[int] = []
        self._buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        self.metadata: dict[str, str] = self._llama.metadata
        self.vocabulary_size: int = self._llama.n_vocab()
        self.context_limit: int = self._llama.n_ctx()
        self.trained_limit = trained
        self.parameters: int = self._model.n_params()
        self.weight_bytes: int = self._model.size()

    @property
    def architecture(self) -> str:
        return self.metadata.get("general.architecture", "")

    @property
    def puts_space_first(self) -> bool:
        """Whether the first token of a text is spelt with a space that the text does not have."""
        return (
            self.metadata.get("tokenizer.ggml.model") == _SPACE_TOKENIZER
            and self.metadata.get("tokenizer.ggml.add_space_prefix", "true") == "true"
        )

    def template(self) -> ChatTemplate | None:
        """The file's own chat template, None where it has none.

        Raises:
            ChatuiError: it is no valid template.
        """
        source = self.metadata.get("tokenizer.chat_template")
        if not source:
            return None
        names = {
            "eos_token": self._spelling(self._model.token_eos()),
            "bos_token": self._spelling(self._model.token_bos()),
        }
        return ChatTemplate.compiled(source, names, dict.fromkeys(self.control_tokens, True))

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """The spellings of the tokens that are no text."""
        return tuple(
            self._spelling(token)
            for token in range(self.vocabulary_size)
            if llama_cpp.llama_vocab_is_control(self._vocabulary, token)
        )

    @cached_property
    def special(self) -> TokenFinder:
        """Finds the spellings of special tokens."""
        return TokenFinder(self.control_tokens)

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, the model's own first token (BOS) included where it has one."""
        begins = self._spelling(self._model.token_bos())
        add_bos = self._model.add_bos_token() and not (begins and text.startswith(begins))

        def tokenize(part: str, add_bos: bool = False) -> list[int]:
            ids: list[int] = self._llama.tokenize(part.encode(), add_bos=add_bos, special=True)
            return ids

        return encode(text, self.special, lambda part: tokenize(part, add_bos), tokenize)

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the text; none for a control token."""
        size = llama_cpp.llama_token_to_piece(
            self._vocabulary, token, self._buffer, _PIECE_BYTES, 0, False
        )
        return self._buffer.raw[: max(size, 0)]

    def spelling(self, token: int) -> str:
        """The token as it is shown, control tokens too."""
        return self.piece(token).decode("utf-8", "replace") or self._spelling(token)

    def is_end(self, token: int) -> bool:
        """Whether the token ends a reply."""
        return bool(llama_cpp.llama_vocab_is_eog(self._vocabulary, token))

    def read_prompt(self, ids: Sequence[int], stop_wanted: Callable[[], bool]) -> int | None:
        """Read a prompt into the KV cache and return how many tokens were there already.

        None if it was stopped. What an earlier prompt had read in whole chunks is kept, and
        nothing else: llama.cpp computes a lone token by other kernels than a batch (its logits
        differ by up to 1.0 here), so only the same chunks give the same reply as reading it all.
        """
        reused = self._keep(ids)
        abort = llama_cpp.ggml_abort_callback(lambda _: stop_wanted())
        llama_cpp.llama_set_abort_callback(self._context.ctx, abort, None)
        try:
            for start in range(reused, len(ids), CHUNK_TOKENS):
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
        return reused

    def read_token(self, token: int) -> None:
        """Read one token of the reply into the KV cache."""
        self._llama.eval([token])

    def logits(self) -> npt.NDArray[np.float32]:
        """Logits of the next token, ``[vocabulary]``, float32; the next read changes them."""
        pointer = self._context.get_logits_ith(-1)
        return np.ctypeslib.as_array(pointer, (self.vocabulary_size,))

    def close(self) -> None:
        """Give back the memory."""
        self._llama.close()

    def _keep(self, ids: Sequence[int]) -> int:
        """Forget all but the leading chunks that ``ids`` share with the KV cache."""
        shared = 0
        for kept, wanted in zip(self._chunked, ids, strict=False):
            if kept != wanted:
                break
            shared += 1
        # The last token must be read again for its logits.
        shared = min(shared, len(ids) - 1) // CHUNK_TOKENS * CHUNK_TOKENS
        memory = self._context.memory
        if shared and (
            # A sliding window may have forgotten what lies before, and a recurrent state all.
            llama_cpp.llama_memory_seq_pos_min(memory, 0) > 0
            or not self._context.kv_cache_seq_rm(-1, shared, -1)
        ):
            shared = 0
        if not shared:
            llama_cpp.llama_memory_clear(memory, True)
        self._llama.n_tokens = shared
        self._chunked = list(ids[:shared])
        return shared

    def _spelling(self, token: int) -> str:
        return self._model.token_get_text(token) if token >= 0 else ""


def _trained_context(path: Path) -> int:
    """Tokens that the model was trained to read; 0 where the file does not say."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ChatuiError(say("backends.llama.unreadable", path=path, reason=reason)) from error
    if magic != b"GGUF":
        raise ChatuiError(say("backends.llama.not_gguf", path=path))
    header = read_gguf(path)
    if header is None:
        raise ChatuiError(say("backends.llama.damaged", path=path))
    return header.context_limit or 0


def thread_count() -> int:
    """Threads for the computation: ``OMP_NUM_THREADS``, else the physical cores we may use."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores)


def _why_not(path: Path) -> str:
    """One sentence on why llama.cpp did not load the file."""
    text = "\n".join(_last_errors)
    if "unknown model architecture" in text:
        name = text.partition("unknown model architecture: '")[2].partition("'")[0]
        return say("backends.llama.unknown_architecture", path=path, name=name)
    if "allocate" in text or "out of memory" in text:
        return say("backends.llama.no_memory", path=path)
    return say("backends.llama.damaged", path=path)
