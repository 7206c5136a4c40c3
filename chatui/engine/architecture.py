"""The config of a model folder: its family, its classes in transformers, its context window."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from chatui.catalog.model_files import read_json_object
from chatui.catalog.recognise import why_unsupported
from chatui.engine.weights import TensorEntry
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.prompting.format import model_type_of

_QUANTISATION_PACKAGES = {
    "auto-round": ("auto_round",),
    "awq": ("gptqmodel",),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed_tensors",),
    "gptq": ("optimum", "gptqmodel"),
    "hqq": ("hqq",),
    "torchao": ("torchao",),
}
"""Packages that transformers needs for quantised weights, by ``quant_method``."""

# Raised by transformers for invalid values in a config.
_CONFIG_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    StrictDataclassError,
    TypeError,
    ValueError,
)


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config.json of a model folder.

    Raises:
        ChatuiError: the folder does not exist, is not a model folder, or its config is invalid.
    """
    if not folder.exists():
        raise ChatuiError(say("engine.no_such_path", path=folder))
    if not folder.is_dir():
        raise ChatuiError(say("engine.not_a_folder", path=folder))
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise ChatuiError(say("engine.is_adapter", folder=folder))
        raise ChatuiError(say("engine.not_a_model", folder=folder))
    return read_json_object(folder / "config.json")


def family_of(config: dict[str, Any]) -> str:
    """Return the family: the config's ``model_type``, or the one of its architecture.

    Raises:
        ChatuiError: the config names neither.
    """
    family = model_type_of(config)
    if not family:
        raise ChatuiError(say("engine.unknown_family"))
    return family


def load_config(folder: Path, raw: dict[str, Any], family: str) -> Any:
    """Load the transformers config of a folder.

    Raises:
        ChatuiError: the architecture is not supported, or the config is invalid.
    """
    lacks = why_unsupported(raw, folder.name)
    if lacks:
        raise ChatuiError(say("catalog.cannot_run", name=folder.name, reason=lacks))
    if family == "moss" and raw.get("wbits", 32) not in (16, 32):
        raise ChatuiError(say("engine.moss_quantised", bits=raw["wbits"]))
    try:
        if family == "chatglm":
            from chatui.engine.architectures.chatglm.configuration import ChatGLMConfig

            return ChatGLMConfig.from_pretrained(folder)
        if family == "moss":
            # MOSS is CodeGen with the same weights and tensor names (fnlp/moss-moon-003-sft).
            return transformers.CodeGenConfig(**{**raw, "model_type": "codegen"})
        if "model_type" not in raw:
            return AutoConfig.for_model(family, **raw)
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except _CONFIG_ERRORS as error:
        if family in ("chatglm", "moss", *transformers.CONFIG_MAPPING):
            raise _wrong_config(folder, error) from error
        reason = str(error).split("\n")[0]
        raise ChatuiError(say("engine.unsupported", family=family, reason=reason)) from error


def check_packages(config: Any, folder: Path) -> None:
    """Check that the packages for the folder's quantised weights are installed.

    Raises:
        ChatuiError: one is missing.
    """
    quantisation = getattr(config, "quantization_config", None)
    method = quantisation.get("quant_method") if isinstance(quantisation, dict) else None
    needed = _QUANTISATION_PACKAGES.get(str(method), ())
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        packages = " ".join(missing).replace("_", "-")
        raise ChatuiError(
            say("engine.library_missing", folder=folder, method=method, packages=packages)
        )


def context_limit_of(spec: ModelSpec, config: Any) -> int:
    """Return the preset's window in tokens, else the config's, else 2048.

    Families with a table of learned positions are limited to its length.
    """
    text = config.get_text_config(decoder=True)
    names = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
    values = (getattr(text, name, None) for name in names)
    found = [value for value in values if isinstance(value, int) and value > 0]
    limit = spec.context_limit if spec.context_limit is not None else (found or [2048])[0]
    if found and config.model_type in ("gpt2", "openai-gpt", "codegen", "gptj", "gpt_neo", "opt"):
        limit = min(limit, found[0])
    return limit


def network_class(config: Any, family: str) -> Any:
    if family == "chatglm":
        from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM

        return ChatGLMForCausalLM
    found = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple) else found


def build_on_meta(config: Any, family: str, folder: Path) -> Any:
    """Build the network on the meta device, which allocates no weights.

    Raises:
        ChatuiError: the config has invalid values.
    """
    try:
        with torch.device("meta"):
            return network_class(config, family)(copy.deepcopy(config))
    except _CONFIG_ERRORS as error:
        raise _wrong_config(folder, error) from error


def check_sizes(network: Any, entries: Sequence[TensorEntry], folder: Path) -> None:
    """Refuse an architecture that is more than twice as large as the weights in the files.

    transformers' loader allocates missing tensors first, however large the config makes them.

    Args:
        network: the architecture on the meta device.
        entries: the tensors of the files.
        folder: the model's folder, for the error.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in network.named_parameters()}
    stored = {entry.shape for entry in entries}
    if sum(map(math.prod, shapes.values())) > 2 * sum(math.prod(one.shape) for one in entries):
        first = next((name for name in shapes if shapes[name] not in stored), next(iter(shapes)))
        expected = list(shapes[first])
        raise ChatuiError(say("engine.config_differs", key=first, expected=expected, folder=folder))


def _wrong_config(folder: Path, error: Exception) -> ChatuiError:
    # transformers' errors begin with class names; the last line gives the reason.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1].rstrip(".") if lines else type(error).__name__
    return ChatuiError(say("engine.wrong_config", folder=folder, reason=reason))
