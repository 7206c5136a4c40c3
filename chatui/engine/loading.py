"""From a spec to a loaded model."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig

from chatui.engine.chat_template import chat_template_format, template_end_ids
from chatui.engine.codec import Codec, codec_of, decoder_kinds, special_ids
from chatui.engine.families import (
    CHAT_TEMPLATE,
    END_TOKENS,
    family_of,
    format_of,
    read_config,
    read_json,
)
from chatui.engine.memory import need_of
from chatui.engine.model import Guard, LoadedModel
from chatui.engine.network import CausalNetwork, Network
from chatui.engine.placement import Placement, place
from chatui.engine.tokenizers import load_tokenizer
from chatui.engine.weights import Entry, Reader, find_weights
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Loaded, Loading, ModelSpec
from chatui.prompting import formats
from chatui.prompting.format import PromptFormat

_REPORT_SECONDS = 0.05


@dataclass(frozen=True)
class Plan:
    """A load that nothing but the weights' data can make fail: all that is checked beforehand."""

    spec: ModelSpec
    folder: Path
    family: str
    config: Any
    entries: tuple[Entry, ...]
    tokenizer: Any
    format: PromptFormat
    context_limit: int
    placement: Placement


def plan_load(spec: ModelSpec, freed: int = 0) -> Plan:
    """Recognise and check everything that can be checked without reading the weights.

    Args:
        spec: what to load.
        freed: bytes that unloading the present model gives back.

    Raises:
        ChatuiError: it cannot be loaded; the sentence says why.
    """
    folder = Path(spec.path)
    raw = read_config(folder)
    family = spec.family or family_of(raw)
    config = _config(folder, raw, family)
    entries = find_weights(folder)
    tokenizer = load_tokenizer(Path(spec.tokenizer or folder), family)
    name = spec.format or format_of(
        family, has_chat_template=bool(getattr(tokenizer, "chat_template", None))
    )
    prompt_format = chat_template_format(tokenizer) if name == CHAT_TEMPLATE else formats.get(name)
    limit = _context_limit(spec, config)
    placement = place(spec, entries, need_of(entries, config, limit), freed)
    return Plan(spec, folder, family, config, entries, tokenizer, prompt_format, limit, placement)


def load_model(plan: Plan, report: Callable[[Loading], None]) -> LoadedModel:
    """Carry out a plan.

    Raises:
        ChatuiError: the weights are not those of the config's architecture.
    """
    began = time.monotonic()
    model = _load_weights(plan, report)
    parameters = list(model.parameters())
    codec, guard, network = _parts(plan, model)
    summary = Loaded(
        name=plan.spec.name,
        family=plan.family,
        format=plan.format.name,
        context_limit=plan.context_limit,
        device=str(model.get_input_embeddings().weight.device),
        dtype=str(plan.placement.dtype).removeprefix("torch."),
        parameters=sum(parameter.numel() for parameter in parameters),
        weight_bytes=sum(parameter.nbytes for parameter in parameters),
        load_seconds=time.monotonic() - began,
        notes=(*plan.spec.notes, *plan.placement.notes),
    )
    return LoadedModel(
        spec=plan.spec,
        summary=summary,
        network=network,
        codec=codec,
        format=plan.format,
        eos_ids=_eos_ids(plan),
        guard=guard,
    )


def _config(folder: Path, raw: dict[str, Any], family: str) -> Any:
    """The transformers config of a folder.

    Raises:
        ChatuiError: nothing here can run this architecture.
    """
    if family == "chatglm":
        from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig

        return ChatGLMConfig.from_pretrained(folder)
    if family == "moss":
        if raw.get("wbits", 32) not in (16, 32):
            raise ChatuiError(say("engine.moss_quantised", bits=raw["wbits"]))
        # MOSS is CodeGen with the same weights under the same names (fnlp/moss-moon-003-sft).
        return transformers.CodeGenConfig(**{k: v for k, v in raw.items() if k != "model_type"})
    if "model_type" not in raw:
        return AutoConfig.for_model(family, **raw)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ChatuiError(
            say("engine.unsupported", family=family, reason=str(error).split("\n")[0])
        ) from error
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ChatuiError(say("engine.not_causal", family=family))
    return config


def _context_limit(spec: ModelSpec, config: Any) -> int:
    """The preset's window, or the config's; never more positions than a table of them holds."""
    text = config.get_text_config(decoder=True)
    names = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
    found = [value for name in names if isinstance(value := getattr(text, name, None), int)]
    limit = spec.context_limit if spec.context_limit is not None else (found or [2048])[0]
    if found and config.model_type in ("gpt2", "codegen", "gptj", "gpt_neo", "opt"):
        limit = min(limit, found[0])
    if limit <= 0:
        raise ChatuiError(say("engine.no_context", limit=limit))
    return limit


def _load_weights(plan: Plan, report: Callable[[Loading], None]) -> Any:
    """The network with its weights, in evaluation mode."""
    total = sum(entry.bytes for entry in plan.entries)
    last = 0.0

    def progress(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _REPORT_SECONDS or done == total:
            last = now
            report(Loading(say("engine.stage_weights"), done, total))

    progress(0)
    placement, config = plan.placement, plan.config
    maker = _network_class(plan)
    spread = plan.spec.device_map is not None or hasattr(config, "quantization_config")
    try:
        if spread:
            # accelerate places, and offloads to, files that it knows the paths of.
            model, info = maker.from_pretrained(
                plan.folder,
                config=config,
                dtype=placement.dtype,
                device_map=plan.spec.device_map or {"": placement.device},
                local_files_only=True,
                output_loading_info=True,
            )
        else:
            reader = Reader(plan.entries, placement.dtype, placement.device, progress)
            on_cpu = placement.device.type == "cpu"
            model, info = maker.from_pretrained(
                None,
                config=config,
                state_dict=reader.tensors,
                dtype=placement.dtype,
                device_map=None if on_cpu else {"": placement.device},
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except (ValueError, KeyError, ImportError, OSError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise ChatuiError(say("engine.cannot_load", folder=plan.folder, reason=reason)) from error
    _check(plan, info)
    return model.eval()


def _network_class(plan: Plan) -> Any:
    if plan.family == "chatglm":
        from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM

        return ChatGLMForCausalLM
    found = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(plan.config)]
    return found[0] if isinstance(found, tuple) else found


def _check(plan: Plan, info: dict[str, Any]) -> None:
    """Refuse weights that are not those of the architecture."""
    for key, found, expected in sorted(info["mismatched_keys"]):
        raise ChatuiError(
            say("engine.wrong_shape", key=key, found=list(found), expected=list(expected))
        )
    for key in sorted(info["missing_keys"]):
        raise ChatuiError(say("engine.tensor_missing", key=key, folder=plan.folder))


def _parts(plan: Plan, model: Any) -> tuple[Codec, Guard | None, Network]:
    """Codec, guard and network, which ChatGLM-6B has its own of."""
    if plan.family == "chatglm":
        from chatui.engine.chatglm import chatglm_parts

        return chatglm_parts(plan.tokenizer, model)
    codec = codec_of(plan.tokenizer, special_tokens=plan.format.name != CHAT_TEMPLATE)
    return codec, None, CausalNetwork(model)


def _eos_ids(plan: Plan) -> frozenset[int]:
    """The spec's; else what config, generation config, tokenizer, family and template name."""
    if plan.spec.eos_ids:
        return frozenset(plan.spec.eos_ids)
    tokenizer = plan.tokenizer
    found: set[Any] = {tokenizer.eos_token_id}
    named = [getattr(plan.config, "eos_token_id", None)]
    file = plan.folder / "generation_config.json"
    if file.is_file():
        named.append(read_json(file).get("eos_token_id"))
    for value in named:
        found |= set(value) if isinstance(value, list | tuple) else {value}
    if "WordPiece" in decoder_kinds(tokenizer):
        found |= {tokenizer.pad_token_id, tokenizer.sep_token_id}
    vocabulary = tokenizer.get_vocab()
    found |= {vocabulary.get(token) for token in END_TOKENS.get(plan.family, ())}
    if plan.format.name == CHAT_TEMPLATE:
        found |= template_end_ids(tokenizer, special_ids(tokenizer))
    return frozenset(id for id in found if isinstance(id, int))


def unload() -> None:
    """Give back what a model took that nobody refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
