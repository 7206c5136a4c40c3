"""How much memory a model takes, and how much there is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch

from chatui.engine.weights import TensorEntry

_WORKSPACE = 256 << 20
"""Bytes for activations, the allocator and what a first call sets up."""


@dataclass(frozen=True)
class Need:
    """What a model takes.

    Attributes:
        floats: floating point parameters.
        packed: bytes of all other weights, which no dtype changes.
        cached: numbers in the KV cache of a full context window.
    """

    floats: int
    packed: int
    cached: int

    def total(self, dtype: torch.dtype) -> int:
        """Bytes in ``dtype``: weights, KV cache and workspace."""
        return (self.floats + self.cached) * dtype.itemsize + self.packed + _WORKSPACE

    def total_int4(self) -> int:
        """Bytes with the weights quantised to 4 bits and their scales, the cache in 16."""
        return self.floats * 9 // 16 + self.packed + self.cached * 2 + _WORKSPACE


@dataclass(frozen=True)
class FreedMemory:
    """What unloading the present model gives back.

    Attributes:
        device: where its weights are, e.g. "cpu", "cuda:0"; "" for no model.
        bytes: of its own memory; pages of mapped files count as available already.
    """

    device: str = ""
    bytes: int = 0

    def on(self, device: torch.device) -> int:
        """Bytes that come free on ``device``."""
        kind, _, index = self.device.partition(":")
        # A tensor on "mps" says "mps:0".
        same = kind == device.type and int(index or 0) == (device.index or 0)
        return self.bytes if same else 0


NOTHING_FREED = FreedMemory()


def need_of(entries: Iterable[TensorEntry], config: Any, context_limit: int) -> Need:
    """Count what the files and the config say."""
    floats = packed = 0
    for entry in entries:
        if entry.dtype is not None and entry.dtype.is_floating_point:
            floats += entry.bytes // entry.dtype.itemsize
        else:
            packed += entry.bytes
    return Need(floats, packed, _cache_per_token(config) * context_limit)


def _cache_per_token(config: Any) -> int:
    """Numbers that one token adds to the KV cache: keys and values of all layers."""
    text = config.get_text_config(decoder=True)
    layers = getattr(text, "num_hidden_layers", 0)
    heads = getattr(text, "num_attention_heads", 0) or 1
    key_heads = getattr(text, "num_key_value_heads", None) or heads
    width = getattr(text, "head_dim", None) or getattr(text, "hidden_size", 0) // heads
    return int(2 * layers * key_heads * width)


def available_bytes(device: torch.device) -> int:
    """Memory that can still be taken on ``device``."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = int(psutil.virtual_memory().available)
    limit = _control_group_room()
    return free if limit is None else min(free, limit)


def _control_group_room() -> int | None:
    """Bytes left in the container's own limit (cgroup v2), where it has one."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        cached = 0
        for line in (folder / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "inactive_file":
                cached = int(value)
        return None if limit == "max" else int(limit) - used + cached
    except (OSError, ValueError):
        return None


def gib(count: int) -> str:
    """Bytes as GiB with one digit, e.g. "12.6"."""
    return f"{count / (1 << 30):.1f}"
