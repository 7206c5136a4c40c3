"""Loading of a model that PyTorch runs: from a spec to a load plan, and on to the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chatui.catalog.memory_need import MemoryNeed, window_notes
from chatui.engine.adapters.adapters_plan import AdaptersPlan, plan_adapters
from chatui.engine.adapters.applied import AppliedAdapters, read_adapters
from chatui.engine.adapters.files import title_of
from chatui.engine.adapters.fitting import BaseNetwork
from chatui.engine.adapters.switching import (
    AdaptableBase,
    FileVersions,
    file_versions,
    tokenizer_folder,
)
from chatui.engine.architecture import (
    build_on_meta,
    check_packages,
    check_sizes,
    context_limit_of,
    family_of,
    load_config,
    network_class,
    read_config,
)
from chatui.engine.architectures.rwkv import load_rwkv as rwkv
from chatui.engine.cache import LastPromptCache
from chatui.engine.codec import Codec, make_codec
from chatui.engine.linear import speed_up
from chatui.engine.memory import NOTHING_FREED, FreedMemory
from chatui.engine.model import Guard, LoadedModel, Network
from chatui.engine.network import CausalNetwork
from chatui.engine.placement import BITS, Placement, memory_need, place
from chatui.engine.quantised import (
    QuantisationConfig,
    parameter_count,
    quantised_needs,
    weight_bytes,
)
from chatui.engine.threads import use_threads as use_threads
from chatui.engine.tokenizers import default_format_name, find_eos_ids, load_format, load_tokenizer
from chatui.engine.weight_delta import WeightDelta, find_delta
from chatui.engine.weights import TensorEntry, TensorReader, find_weights
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec
from chatui.prompting.format import CHAT_TEMPLATE, PromptFormat


@dataclass(frozen=True)
class LoadPlan:
    """A validated load plan: everything that can be checked before the weights are read."""

    spec: ModelSpec
    folder: Path
    family: str
    config: Any
    entries: tuple[TensorEntry, ...]
    tokenizer: Any
    format: PromptFormat
    own_window: int
    placement: Placement
    versions: FileVersions
    adapters: AdaptersPlan
    vocabulary: int | None
    delta: WeightDelta | None


def plan_load(spec: ModelSpec, freed: FreedMemory = NOTHING_FREED) -> LoadPlan | rwkv.RwkvPlan:
    """Validate a spec without reading the weights.

    Args:
        spec: the model to load.
        freed: memory that unloading the current model frees.

    Raises:
        ChatuiError: the model cannot be loaded; the sentence gives the reason.
    """
    if rwkv.is_rwkv(spec):
        return rwkv.plan_load(spec, freed)
    folder = Path(spec.path)
    raw = read_config(folder)
    family = spec.family or family_of(raw)
    config = load_config(folder, raw, family)
    entries = find_weights(folder)
    delta = find_delta(Path(spec.delta), entries, title_of(folder)) if spec.delta else None
    if delta is not None and delta.vocabulary is not None:
        config.vocab_size = delta.vocabulary
    files = entries if delta is None else (*entries, *delta.entries)
    network = build_on_meta(config, family, folder)
    adapters = plan_adapters(spec.adapters, BaseNetwork(title_of(folder), family, network))
    if not hasattr(config, "quantization_config"):
        check_sizes(network, entries, folder)
    tokenizer = load_tokenizer(tokenizer_folder(spec, adapters.tokenizer, folder), family)
    own_window = context_limit_of(spec, config)
    need = memory_need((*entries, *adapters.entries), config)
    quantised = _quantised_needs(spec, config, network, need)
    check_packages(config, folder)
    return LoadPlan(
        spec=spec,
        folder=folder,
        family=family,
        config=config,
        entries=entries,
        tokenizer=tokenizer,
        format=load_format(spec.format or default_format_name(family, tokenizer), tokenizer),
        own_window=own_window,
        placement=place(spec, entries, need, own_window, freed, quantised),
        versions=file_versions(files, folder / "config.json"),
        adapters=adapters,
        vocabulary=adapters.rows_for(len(tokenizer)),
        delta=delta,
    )


def _quantised_needs(
    spec: ModelSpec, config: Any, network: Any, need: MemoryNeed
) -> dict[int, MemoryNeed] | None:
    """Return the memory needed with quantised weights, by bits; None if they cannot be quantised.

    Raises:
        ChatuiError: they cannot, and the user asked for it.
    """
    if hasattr(config, "quantization_config") or getattr(config, "quantization_bit", False):
        reason = say("engine.weights_packed", weights=spec.weights)
    elif spec.device_map is not None:
        reason = say("engine.weights_spread", weights=spec.weights)
    else:
        return quantised_needs(network, need)
    if spec.weights in BITS and spec.weights_required:
        raise ChatuiError(reason)
    return None


def load_model(plan: LoadPlan | rwkv.RwkvPlan, report: Callable[[Loading], None]) -> LoadedModel:
    """Load the model of a plan.

    Raises:
        ChatuiError: the weights do not fit the config's architecture.
    """
    if isinstance(plan, rwkv.RwkvPlan):
        return rwkv.load_model(plan, report)
    began = time.monotonic()
    model = _load_weights(plan, report)
    adapted = _read_adapters(plan, model, report)
    adapted.apply(model, merge=plan.spec.merge_adapters)
    return _assemble(plan, model, adapted, time.monotonic() - began)


def load_for_tuning(plan: LoadPlan, report: Callable[[Loading], None]) -> Any:
    """Load the network with transformers' own layers, and merge its adapters.

    Raises:
        ChatuiError: as :func:`load_model`.
    """
    model = _load_weights(plan, report, plain=True)
    _read_adapters(plan, model, report).apply(model, merge=True)
    return model


def switch_adapters(
    base: AdaptableBase, plan: LoadPlan, report: Callable[[Loading], None]
) -> LoadedModel:
    """Load the adapters of a plan on a base that is in memory, in place of its present ones.

    Raises:
        ChatuiError: an adapter cannot be applied; the present ones are applied again.
    """
    began = time.monotonic()
    plan = replace(plan, placement=replace(base.plan.placement, window=plan.placement.window))
    adapted = _read_adapters(plan, base.model, report)
    base.adapted.remove()
    try:
        adapted.apply(base.model)
    except BaseException:
        base.adapted.apply(base.model)
        raise
    return _assemble(plan, base.model, adapted, time.monotonic() - began)


def _read_adapters(
    plan: LoadPlan, model: Any, report: Callable[[Loading], None]
) -> AppliedAdapters:
    return read_adapters(plan.adapters, model, plan.vocabulary, plan.placement.dtype, report)


def _assemble(plan: LoadPlan, model: Any, adapted: AppliedAdapters, seconds: float) -> LoadedModel:
    """Put together the parts of a model whose network is in memory."""
    codec, guard, network = _parts(plan, model)
    window = plan.placement.window
    notes = (*plan.spec.notes, *plan.placement.notes, *plan.adapters.notes)
    notes += window_notes(plan.spec.context, plan.own_window, window)
    if plan.spec.merge_adapters and adapted.lora_hooks:
        notes += (say("adapters.not_merged"),)
    summary = Loaded(
        name=plan.spec.name,
        family=plan.family,
        format=plan.format.name,
        context_limit=window,
        device=str(model.get_input_embeddings().weight.device),
        dtype=plan.placement.dtype_name,
        parameters=parameter_count(model) + adapted.parameters,
        weight_bytes=weight_bytes(model) + adapted.bytes,
        load_seconds=seconds,
        can_switch_thinking=plan.format.thinking is not None,
        free_bytes=plan.placement.room,
        skipped_gpu=plan.placement.skipped_gpu,
        notes=notes,
    )
    return LoadedModel(
        spec=plan.spec,
        summary=summary,
        network=network,
        codec=codec,
        format=plan.format,
        eos_ids=find_eos_ids(plan.spec, plan.family, plan.format, plan.config, plan.tokenizer),
        prompt_cache=LastPromptCache(),
        guard=guard,
        adaptable_base=AdaptableBase(plan, model, adapted),
        mapped_bytes=sum(entry.bytes for entry in plan.entries if plan.placement.is_mapped(entry)),
    )


def _load_weights(plan: LoadPlan, report: Callable[[Loading], None], *, plain: bool = False) -> Any:
    """Load the network with its weights, in evaluation mode.

    Args:
        plain: keep transformers' own linear layers.
    """
    placement = plan.placement
    entries = (*plan.entries, *(plan.delta.entries if plan.delta else ()))
    dtype = None if placement.bits else placement.dtype
    stage = say("engine.stage_weights")
    reader = TensorReader(entries, dtype, placement.device, report, stage)
    source = None
    options: dict[str, Any] = {"device_map": plan.spec.device_map}
    # A delta has to be added in memory; accelerate can offload only tensors that lie in files.
    if plan.delta is None and (
        plan.spec.device_map is not None or hasattr(plan.config, "quantization_config")
    ):
        source = plan.folder
    else:
        options["state_dict"] = (
            plan.delta.tensors(reader, plan.entries) if plan.delta else reader.tensors
        )
        options["ignore_mismatched_sizes"] = True
        if placement.bits:
            options["quantization_config"] = QuantisationConfig(placement.bits, placement.dtype)
    if plan.spec.device_map is None and (source or placement.device.type != "cpu"):
        options["device_map"] = {"": placement.device}
    try:
        model, info = network_class(plan.config, plan.family).from_pretrained(
            source,
            config=plan.config,
            dtype=placement.dtype,
            local_files_only=True,
            output_loading_info=True,
            **options,
        )
    except (ValueError, KeyError, ImportError, OSError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ChatuiError(say("engine.cannot_load", folder=plan.folder, reason=reason)) from error
    reader.release_pages()
    _check_loaded(info, plan.folder)
    if placement.device.type == "cpu" and not plain:
        speed_up(model)
    return model.eval()


def _check_loaded(info: Mapping[str, Any], folder: Path) -> None:
    """Check the loading info of transformers' ``from_pretrained``.

    Raises:
        ChatuiError: a tensor has the wrong shape, or is missing from the files in ``folder``.
    """
    for key, found, expected in sorted(info["mismatched_keys"]):
        raise ChatuiError(
            say("engine.wrong_shape", key=key, found=list(found), expected=list(expected))
        )
    for key in sorted(info["missing_keys"]):
        raise ChatuiError(say("engine.tensor_missing", key=key, folder=folder))


def _parts(plan: LoadPlan, model: Any) -> tuple[Codec, Guard | None, Network]:
    """Return codec, guard and network; ChatGLM-6B has its own."""
    if plan.family == "chatglm":
        from chatui.engine.architectures.chatglm.chatglm_network import chatglm_parts

        return chatglm_parts(plan.tokenizer, model, plan.placement.window)
    codec = make_codec(plan.tokenizer, special_tokens=plan.format.name != CHAT_TEMPLATE)
    return codec, None, CausalNetwork(model, plan.placement.window)
