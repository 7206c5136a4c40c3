"""Loading of GGUF files with llama.cpp, for the same decode loop as all other models.

Only imported in llama.cpp's process.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import psutil
import torch

from chatui import readable
from chatui.catalog.gguf import CHUNK_TOKENS, GgufHeader, check_gguf
from chatui.catalog.memory_need import MemoryNeed, WindowRange, best_fit, window_notes
from chatui.engine.gguf_model import GgufNetwork, GgufVocabulary
from chatui.engine.memory import NOTHING_FREED, FreedMemory, available_bytes
from chatui.engine.model import LoadedModel
from chatui.engine.placement import choose_device
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import chat_template_format
from chatui.prompting.format import CHAT_TEMPLATE, PromptFormat, format_of

_DEFAULT_WINDOW = 8192
"""Tokens, if the file does not state the length that the model was trained for."""

_FORMAT_BY_ARCHITECTURE = ("bloom", "gpt2", "rwkv")
"""Architectures that imply a prompt format; others without a chat template are base models."""

_LOG_LEVEL_ERROR = 4

# llama.cpp writes the reason for a failed load only to its log.
_last_errors: deque[str] = deque(maxlen=8)


def _on_log(level: int, text: bytes, _: object) -> None:
    if level == _LOG_LEVEL_ERROR:
        line = text.decode("utf-8", "replace")
        _last_errors.append(line.strip())
        print(line, end="", file=sys.stderr, flush=True)


# llama.cpp keeps the pointer, so the callback must not be freed.
_log_callback = llama_cpp.llama_log_callback(_on_log)
llama_cpp.llama_log_set(_log_callback, ctypes.c_void_p(0))


@dataclass(frozen=True)
class GgufPlan:
    """A load plan with a checked file header; llama.cpp can still refuse the file.

    Attributes:
        format: the spec's prompt format; None to take the file's.
        window: context window in tokens, prompt and reply together.
        notes: sentences for the user about an automatic choice.
    """

    spec: ModelSpec
    header: GgufHeader
    format: PromptFormat | None
    window: int
    notes: tuple[str, ...] = ()


def plan_load(spec: ModelSpec, freed: FreedMemory = NOTHING_FREED) -> GgufPlan:
    """Check the file without reading its weights.

    Raises:
        ChatuiError: the file is missing, damaged or not a GGUF file, an option of the spec is not
            supported, or the requested window does not fit into memory.
    """
    path = Path(spec.path)
    if spec.adapters:
        raise ChatuiError(say("backends.llama.no_adapters", path=path))
    if spec.weights_required and spec.weights.startswith("int"):
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
    """Return the context window in tokens and the notes about it."""
    own = spec.context_limit or header.context_limit or _DEFAULT_WINDOW
    asked = spec.context
    window = WindowRange.for_model(asked, own)
    device = choose_device("auto" if _on_gpu(spec) else "cpu")
    room = available_bytes(device) + freed.on(device)
    found = best_fit(MemoryNeed(0, size, header.cache), (2,), window, room)
    if found is None and asked is not None:
        needed, available = readable.size(2 * header.cache.numbers(asked)), readable.size(room)
        sizes = {"needed": needed, "available": available}
        raise ChatuiError(say("backends.llama.window_too_large", window=asked, **sizes))
    # The weights are mapped from their file; llama.cpp reports if they do not fit at all.
    tokens = found.window if found else window.least
    return tokens, window_notes(asked, own, tokens)


def _on_gpu(spec: ModelSpec) -> bool:
    return llama_cpp.llama_supports_gpu_offload() and spec.device != "cpu"


def load_model(plan: GgufPlan, report: Callable[[Loading], None]) -> LoadedModel:
    """Load the model of a plan.

    Raises:
        ChatuiError: llama.cpp cannot load the file, or its chat template is invalid.
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
        raise ChatuiError(_load_error(path)) from error
    report(Loading(say("backends.llama.stage"), size, size))
    vocabulary = GgufVocabulary(llama)
    architecture = llama.metadata.get("general.architecture", "")
    format = plan.format
    if format is None and plan.header.has_chat_template:
        format = chat_template_format(vocabulary.template(), "GGUF: tokenizer.chat_template")
    if format is None:
        family = architecture if architecture in _FORMAT_BY_ARCHITECTURE else ""
        format = formats.get(format_of(family, has_chat_template=False))
    # llama.cpp's KV cache is in float16.
    network = GgufNetwork(llama, 2 * plan.header.cache.numbers(plan.window))
    return LoadedModel(
        spec=spec,
        summary=Loaded(
            name=spec.name,
            family=architecture,
            format=format.name,
            # llama.cpp rounds the window up.
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
        eos_ids=vocabulary.eos_ids | frozenset(spec.eos_ids),
        prompt_cache=network,
        mapped_bytes=0 if on_gpu else llama._model.size(),
    )


def use_threads(parameters: int | None) -> None:
    """Set torch, which only samples here, to one thread; llama.cpp has its own."""
    torch.set_num_threads(1)


def thread_count() -> int:
    """Return llama.cpp's thread count: ``OMP_NUM_THREADS``, else the available physical cores."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdecimal() and int(wanted) > 0:
        return int(wanted)
    cores = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores)


def _load_error(path: Path) -> str:
    """Return one sentence with the reason why llama.cpp could not load the file."""
    text = "\n".join(_last_errors)
    if "unknown model architecture" in text:
        name = text.partition("unknown model architecture: '")[2].partition("'")[0]
        return say("backends.llama.unknown_architecture", path=path, name=name)
    if "allocate" in text or "out of memory" in text:
        return say("backends.llama.no_memory", path=path)
    return say("backends.llama.damaged", path=path)
