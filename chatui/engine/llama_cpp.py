"""GGUF files in llama.cpp: a network and a codec for the same decode loop as all other models.

Imported in llama.cpp's own process alone.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import psutil
import torch
from torch import Tensor

from chatui.catalog.gguf import CHUNK_TOKENS, GgufHeader, check_gguf
from chatui.catalog.memory_need import Need, WindowRange, fit, window_notes
from chatui.engine.codec import Codec
from chatui.engine.detokenizer import BytesDetokenizer
from chatui.engine.memory import NOTHING_FREED, FreedMemory, available_bytes, gib
from chatui.engine.model import LoadedModel, Network
from chatui.engine.pages import trim_heap
from chatui.engine.placement import choose_device
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import ChatTemplate, chat_template_format
from chatui.prompting.families import CHAT_TEMPLATE, format_of
from chatui.prompting.format import PromptFormat
from chatui.prompting.prompt_text import TokenFinder, continued, encode

_UNTOLD_WINDOW = 8192
"""Tokens, where the file does not say what the model was trained for."""

_OF_ONE_MAKER = ("bloom", "gpt2", "rwkv")
"""Architectures that tell the format; "llama" and others without a template are base models."""

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


@dataclass(frozen=True)
class GgufPlan:
    """A load whose file was checked; only llama.cpp itself can still refuse it.

    Attributes:
        format: the spec's; None leaves it to the file.
        window: tokens, prompt and reply together.
        notes: sentences on what was decided for the user.
    """

    spec: ModelSpec
    header: GgufHeader
    format: PromptFormat | None
    window: int
    notes: tuple[str, ...] = ()

    @property
    def cache_bytes(self) -> int:
        """What llama.cpp takes for the KV cache, which is in float16, and to compute over it."""
        return 2 * self.header.cache.numbers(self.window)


def plan_load(spec: ModelSpec, freed: FreedMemory = NOTHING_FREED) -> GgufPlan:
    """Check the file without reading its weights.

    Raises:
        ChatuiError: the file is missing, is no GGUF file or damaged, or lacks what the spec wants;
            or the window that the user asks for does not fit into memory.
    """
    path = Path(spec.path)
    if spec.adapters:
        raise ChatuiError(say("backends.llama.no_adapters", path=path))
    if spec.weights_asked and spec.weights.startswith("int"):
        raise ChatuiError(say("engine.weights_packed", weights=spec.weights))
    header = check_gguf(path)
    if spec.format == CHAT_TEMPLATE and not header.has_chat_template:
        raise ChatuiError(say("backends.llama.no_template", path=path))
    named = spec.format not in (None, CHAT_TEMPLATE)
    format = formats.get(spec.format or "") if named else None
    window, notes = _window(spec, header, path.stat().st_size, freed)
    return GgufPlan(spec, header, format, window, notes)


def _window(
    spec: ModelSpec, header: GgufHeader, size: int, freed: FreedMemory
) -> tuple[int, tuple[str, ...]]:
    """The window, in tokens, and what is to be said of it."""
    own = spec.context_limit or header.context_limit or _UNTOLD_WINDOW
    asked = spec.context
    window = WindowRange.of(asked, own)
    device = choose_device("auto" if _on_gpu(spec) else "cpu")
    room = available_bytes(device) + freed.on(device)
    found = fit(Need(0, size, header.cache), (2,), window, room)
    if found is None and asked is not None:
        sizes = {"needed": gib(2 * header.cache.numbers(asked)), "available": gib(room)}
        raise ChatuiError(say("backends.llama.window_too_large", window=asked, **sizes))
    # The weights stay in their file's pages: llama.cpp itself tells what does not fit at all.
    tokens = found.window if found else window.least
    return tokens, window_notes(asked, own, tokens)


def _on_gpu(spec: ModelSpec) -> bool:
    return llama_cpp.llama_supports_gpu_offload() and spec.device != "cpu"


def load_model(plan: GgufPlan, report: Callable[[Loading], None]) -> LoadedModel:
    """Carry out a plan.

    Raises:
        ChatuiError: llama.cpp does not load the file, or its chat template is broken.
    """
    began = time.monotonic()
    spec, path = plan.spec, Path(plan.spec.path)
    size = path.stat().st_size
    report(Loading(say("backends.llama.stage"), 0, size))
    on_gpu = _on_gpu(spec)
    threads = thread_count()
    _last_errors.clear()
    try:
        llama = llama_cpp.Llama(
            str(path),
            n_ctx=plan.window,
            n_batch=CHUNK_TOKENS,
            n_ubatch=CHUNK_TOKENS,
            n_threads=threads,
            n_threads_batch=threads,
            n_gpu_layers=-1 if on_gpu else 0,
            verbose=False,
        )
    except (ValueError, RuntimeError, UnicodeError) as error:
        raise ChatuiError(_why_not(path)) from error
    report(Loading(say("backends.llama.stage"), size, size))
    vocabulary = GgufVocabulary(llama)
    architecture = llama.metadata.get("general.architecture", "")
    format = plan.format
    if format is None and plan.header.has_chat_template:
        format = chat_template_format(vocabulary.template(), "GGUF: tokenizer.chat_template")
    if format is None:
        family = architecture if architecture in _OF_ONE_MAKER else ""
        format = formats.get(format_of(family, has_chat_template=False))
    # llama.cpp rounds the window up to what its kernels like.
    network = GgufNetwork(llama, plan.cache_bytes)
    return LoadedModel(
        spec=spec,
        summary=Loaded(
            name=spec.name,
            family=architecture,
            format=format.name,
            context_limit=min(llama.n_ctx(), plan.window),
            device="gpu" if on_gpu else "cpu",
            dtype="gguf",
            parameters=llama._model.n_params(),
            weight_bytes=llama._model.size(),
            load_seconds=time.monotonic() - began,
            can_switch_thinking=format.thinking is not None,
            notes=(*spec.notes, *plan.notes),
        ),
        network=network,
        codec=vocabulary.codec(),
        format=format,
        eos_ids=vocabulary.end_ids | frozenset(spec.eos_ids),
        prompt_cache=network,
        mapped_bytes=0 if on_gpu else llama._model.size(),
    )


def unload() -> None:
    """Give back what a model took that nobody refers to any more."""
    gc.collect()
    trim_heap()


def use_threads(parameters: int | None) -> None:
    """Leave the cores to llama.cpp's own threads: torch only samples here."""
    torch.set_num_threads(1)


class GgufVocabulary:
    """The tokenizer of a GGUF file.

    Attributes:
        control: spellings of the tokens that are no text.
        end_ids: tokens that end a reply.
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
        self.end_ids = frozenset(
            token for token in ends if llama_cpp.llama_vocab_is_eog(self._vocabulary, token)
        )

    def template(self) -> ChatTemplate:
        """The file's own chat template.

        Raises:
            ChatuiError: it is no valid template.
        """
        names = {
            "eos_token": self._spelling(self._model.token_eos()),
            "bos_token": self._spelling(self._model.token_bos()),
        }
        source = self._llama.metadata["tokenizer.chat_template"]
        return ChatTemplate.compiled(source, names, dict.fromkeys(self.control, True))

    def codec(self) -> Codec:
        """Between text and the file's token ids."""
        metadata, finder = self._llama.metadata, TokenFinder(self.control)
        # The first token of a text is spelt with a space that the text does not have.
        spaced = (
            metadata.get("tokenizer.ggml.model") == _SPACE_TOKENIZER
            and metadata.get("tokenizer.ggml.add_space_prefix", "true") == "true"
        )
        begins = self._spelling(self._model.token_bos())

        def tokenize(part: str, add_bos: bool = False) -> list[int]:
            ids: list[int] = self._llama.tokenize(part.encode(), add_bos=add_bos, special=True)
            return ids

        def encode_prompt(text: str) -> list[int]:
            add_bos = self._model.add_bos_token() and not (begins and text.startswith(begins))
            return encode(text, finder, lambda part: tokenize(part, add_bos), tokenize)

        return Codec(
            encode_prompt,
            lambda token: self._bytes(token).decode("utf-8", "replace") or self._spelling(token),
            lambda: BytesDetokenizer(self._bytes, strip_first_space=spaced),
            finder,
            lambda text: encode(text, finder, lambda part: continued(part, tokenize), tokenize),
        )

    def _bytes(self, token: int) -> bytes:
        """What a token adds to the text; nothing for a control token."""
        size = llama_cpp.llama_token_to_piece(
            self._vocabulary, token, self._buffer, _PIECE_BYTES, 0, False
        )
        return self._buffer.raw[: max(size, 0)]

    def _spelling(self, token: int) -> str:
        return self._model.token_get_text(token) if token >= 0 else ""


class GgufNetwork:
    """llama.cpp's context: a network that is its own and only KV cache.

    For the methods, see :class:`chatui.engine.model.Network` and ``KeptPrompts``. Logits are
    llama.cpp's own memory; the next read changes them.
    """

    reuses_prefix = True

    def __init__(self, llama: Any, held: int) -> None:
        """
        Args:
            held: bytes of the KV cache, which llama.cpp takes as a whole.
        """
        self.held = held
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
        """Forget all but the leading whole chunks that ``ids`` share with the KV cache.

        llama.cpp computes a lone token by other kernels than a batch (its logits differ by up to
        1.0), so only the same chunks give the same reply as reading everything.
        """
        shared = 0
        for kept, wanted in zip(self._chunked, ids, strict=False):
            if kept != wanted:
                break
            shared += 1
        # The last token must be read again for its logits.
        shared = max(0, min(shared, len(ids) - 1)) // CHUNK_TOKENS * CHUNK_TOKENS
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
