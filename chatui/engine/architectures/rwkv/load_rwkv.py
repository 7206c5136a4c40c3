"""Check and load an RWKV-4 from a spec, and prepare its state for the next query."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

from torch import Tensor

from chatui.catalog.memory_need import MemoryNeed, window_notes
from chatui.catalog.model_files import read_json_object
from chatui.engine.architectures.rwkv.checkpoint import RwkvSize, blinkdl_name, checked_size
from chatui.engine.architectures.rwkv.rwkv_modeling import build_network
from chatui.engine.architectures.rwkv.rwkv_network import MAX_STATES, RwkvNetwork, StateStore
from chatui.engine.architectures.rwkv.rwkv_tokenizers import (
    END_OF_TEXT,
    WORLD_ROWS,
    find_tokenizer,
    load_codec,
)
from chatui.engine.codec import Codec
from chatui.engine.generate import build_prompt
from chatui.engine.memory import NOTHING_FREED, FreedMemory
from chatui.engine.model import LoadedModel, common_prefix
from chatui.engine.placement import BITS, Placement, place
from chatui.engine.weights import TensorEntry, TensorReader, find_weights, read_entries
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import GenerateRequest, Loaded, Loading, ModelSpec
from chatui.prompting import formats
from chatui.prompting.format import PromptFormat

FAMILY = "rwkv"
_CONTEXT, _WORLD_CONTEXT = 1024, 4096
"""Default context windows in tokens."""
_SAMPLE_QUERIES = ("甲", "a", "1")
"""Queries with different first tokens, whose prompts share what is independent of the query."""

_CONTINUE_FREE_TEXT = "+++"


@dataclass(frozen=True)
class RwkvPlan:
    """A load plan, validated as far as possible without reading the weights.

    Attributes:
        entries: the tensors in the files, by BlinkDL's names.
    """

    spec: ModelSpec
    size: RwkvSize
    entries: dict[str, TensorEntry]
    codec: Codec
    format: PromptFormat
    placement: Placement
    notes: tuple[str, ...]


def is_rwkv(spec: ModelSpec) -> bool:
    """True if a spec names one of BlinkDL's files, or a folder of transformers' RWKV-4."""
    path = Path(spec.path)
    if path.is_dir():
        config = path / "config.json"
        return config.is_file() and read_json_object(config).get("model_type") == FAMILY
    return path.suffix == ".pth" or (spec.family == FAMILY and path.is_file())


def plan_load(spec: ModelSpec, freed: FreedMemory = NOTHING_FREED) -> RwkvPlan:
    """Make a load plan, with all checks that do not need the weights' data.

    Args:
        spec: the model to load.
        freed: memory that unloading the present model frees.

    Raises:
        ChatuiError: the model cannot be loaded.
    """
    path = Path(spec.path)
    stored = find_weights(path) if path.is_dir() else read_entries(_existing(path))
    entries = {blinkdl_name(entry.key): entry for entry in stored}
    if spec.adapters:
        raise ChatuiError(say("adapters.not_here", family=FAMILY))
    if spec.weights in BITS and spec.weights_required:
        raise ChatuiError(say("rwkv.no_quantising", weights=spec.weights))
    if spec.delta:
        raise ChatuiError(say("rwkv.no_delta"))
    size = checked_size({name: entry.shape for name, entry in entries.items()}, path)
    folder = path if path.is_dir() else path.parent
    tokenizer = Path(spec.tokenizer) if spec.tokenizer else None
    codec = load_codec(find_tokenizer(tokenizer, folder, size.vocabulary), size.vocabulary)
    world = size.vocabulary == WORLD_ROWS
    need = MemoryNeed(
        floats=sum(math.prod(entry.shape) for entry in stored),
        packed=MAX_STATES * size.state_numbers * 4,
    )
    own_window = _context_limit(spec, path, _WORLD_CONTEXT if world else _CONTEXT)
    placement = place(spec, stored, need, own_window, freed)
    notes = window_notes(spec.context, own_window, placement.window)
    return RwkvPlan(
        spec=spec,
        size=size,
        entries=entries,
        codec=codec,
        format=formats.get(spec.format or ("chatrwkv:world" if world else "chatrwkv")),
        placement=placement,
        notes=(*notes, say("rwkv.no_device_map")) if spec.device_map else notes,
    )


def load_model(plan: RwkvPlan, report: Callable[[Loading], None]) -> LoadedModel:
    """Read the weights and build the model of a plan."""
    began = time.monotonic()
    placement = plan.placement
    stored, stage = tuple(plan.entries.values()), say("engine.stage_weights")
    reader = TensorReader(stored, placement.dtype, placement.device, report, stage)

    def read(name: str) -> Tensor:
        return reader.read(plan.entries[name])

    network = build_network(plan.size, read, placement.dtype, placement.device)
    opening = opening_tokens(plan.format, plan.codec.encode, plan.spec)
    summary = Loaded(
        name=plan.spec.name,
        family=FAMILY,
        format=plan.format.name,
        context_limit=placement.window,
        device=str(network.head.device),
        dtype=str(placement.dtype).removeprefix("torch."),
        parameters=sum(weight.numel() for weight in network.weights),
        weight_bytes=sum(weight.nbytes for weight in network.weights),
        load_seconds=time.monotonic() - began,
        free_bytes=placement.room,
        skipped_gpu=placement.skipped_gpu,
        notes=(*plan.spec.notes, *placement.notes, *plan.notes),
    )
    return LoadedModel(
        spec=plan.spec,
        summary=summary,
        network=RwkvNetwork(network, opening),
        codec=plan.codec,
        format=plan.format,
        eos_ids=frozenset(plan.spec.eos_ids or (END_OF_TEXT,)),
        prompt_cache=StateStore(opening),
        after_reply=prefill_next_prompt,
    )


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ChatuiError(say("engine.no_such_path", path=path))
    return path


def _context_limit(spec: ModelSpec, path: Path, default: int) -> int:
    """Return the context length of the training, in tokens; an RNN itself has no limit.

    It is taken from the preset, the config, or the file's name ("…-ctx4096.pth").
    """
    limit: Any = spec.context_limit
    if limit is None and path.is_dir():
        limit = read_json_object(path / "config.json").get("context_length")
    if limit is None:
        named = re.search(r"ctx(\d+)(k?)", path.name)
        limit = int(named[1]) * (1024 if named[2] else 1) if named else default
    if not isinstance(limit, int) or limit <= 0:
        raise ChatuiError(say("engine.no_context", limit=limit))
    return limit


def common_beginning(prompts: Iterable[Sequence[int]]) -> Sequence[int]:
    """Return the longest common prefix of ``prompts``, in tokens."""
    return reduce(lambda one, other: one[: common_prefix(one, other)], prompts)


def opening_tokens(
    format: PromptFormat, encode: Callable[[str], list[int]], spec: ModelSpec
) -> list[int]:
    """Return the tokens with which every chat begins."""
    renderings = (format.render((), query, spec.system) for query in _SAMPLE_QUERIES)
    return list(common_beginning([encode(text) for text in renderings]))


def prefill_next_prompt(
    model: LoadedModel, request: GenerateRequest, reply: str, stop_wanted: Callable[[], bool]
) -> None:
    """Read the beginning of the next prompt, so that only the next query is left to read.

    After a reply the state holds the generated tokens except the last one. The next prompt contains
    the reply as it is stored: stripped, encoded by the tokenizer, and followed by the format's
    text. Usually a few more tokens have to be read. If the stored reply differs from the generated
    tokens, it is read again, so that results do not depend on the cache.
    """
    network = model.network
    assert isinstance(network, RwkvNetwork)
    free = model.format.is_free_text(request.query)
    queries = (_CONTINUE_FREE_TEXT,) if free else _SAMPLE_QUERIES
    after = replace(request, history=(*request.history, (request.query, reply)))
    try:
        prompts = [build_prompt(model, replace(after, query=query)).ids for query in queries]
    except ChatuiError:
        return
    ids = tuple(common_beginning(prompts))
    # `take` leaves out the last token of a prompt, and `ids` is only the beginning of one.
    cache, _ = model.prompt_cache.take(network, ids if free else (*ids, *ids[-1:]))
    network.read_up_to(ids[: len(ids) - free], cache, stop_wanted)
    model.prompt_cache.put(network, cache, cache.ids.copy())
