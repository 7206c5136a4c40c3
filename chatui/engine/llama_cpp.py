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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import llama_cpp
import psutil
import torch

from chatui.catalog.gguf import CHUNK_TOKENS, GgufHeader, check_gguf
from chatui.catalog.memory_need import MemoryNeed, WindowRange, best_fit, window_notes
from chatui.engine.allocator import trim_heap
from chatui.engine.gguf_network import GgufNetwork
from chatui.engine.gguf_vocabulary import GgufVocabulary
from chatui.engine.memory import NOTHING_FREED, FreedMemory, available_bytes, gib
from chatui.engine.model import LoadedModel
from chatui.engine.placement import choose_device
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec
from chatui.prompting import formats
from chatui.prompting.chat_template import chat_template_format
from chatui.prompting.families import CHAT_TEMPLATE, format_of
from chatui.prompting.format import PromptFormat

_UNTOLD_WINDOW = 8192
"""Tokens, if the file does not say what the model was trained for."""

_OF_ONE_MAKER = ("bloom", "gpt2", "rwkv")
"""Architectures that tell the format; "llama" and others without a template are base models."""

_LOG_LEVEL_ERROR = 4

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
    window = WindowRange.for_model(asked, own)
    device = choose_device("auto" if _on_gpu(spec) else "cpu")
    room = available_bytes(device) + freed.on(device)
    found = best_fit(MemoryNeed(0, size, header.cache), (2,), window, room)
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
        eos_ids=vocabulary.eos_ids | frozenset(spec.eos_ids),
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
