"""What a folder's config says: the architecture's classes in transformers, and its window."""

from __future__ import annotations

import copy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from chatui.catalog.model_files import read_json_object
from chatui.catalog.recognise import lacks_of
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import ModelSpec
from chatui.prompting.families import model_type_of

_LIBRARIES = {
    "auto-round": ("auto_round",),
    "awq": ("gptqmodel",),
    "bitsandbytes": ("bitsandbytes",),
    "compressed-tensors": ("compressed_tensors",),
    "gptq": ("optimum", "gptqmodel"),
    "hqq": ("hqq",),
    "torchao": ("torchao",),
}
"""What transformers runs packed weights with, by their ``quant_method``."""

# What architectures raise over the values of their configs.
_NO_NETWORK = (ValueError, KeyError, TypeError, AttributeError, RuntimeError, ArithmeticError)


def read_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder.

    Raises:
        ChatuiError: there is no such folder, it is no model folder, or its config is broken.
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
    """The family's name: the config's ``model_type``, or what its architecture tells.

    Raises:
        ChatuiError: the config names neither.
    """
    family = model_type_of(config)
    if not family:
        raise ChatuiError(say("engine.unknown_family"))
    return family


def load_config(folder: Path, raw: dict[str, Any], family: str) -> Any:
    """The transformers config of a folder.

    Raises:
        ChatuiError: nothing here can run this architecture.
    """
    lacks = lacks_of(raw, folder.name)
    if lacks:
        raise ChatuiError(say("catalog.cannot_run", name=folder.name, reason=lacks))
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
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ChatuiError(
            say("engine.unsupported", family=family, reason=str(error).split("\n")[0])
        ) from error
    except (StrictDataclassError, ArithmeticError) as error:
        raise _wrong_config(folder, error) from error


def check_packages(config: Any, folder: Path) -> None:
    """Look whether the library that packed weights need is installed.

    Raises:
        ChatuiError: it is not.
    """
    packing = getattr(config, "quantization_config", None)
    method = packing.get("quant_method") if isinstance(packing, dict) else None
    missing = [name for name in _LIBRARIES.get(str(method), ()) if find_spec(name) is None]
    if missing:
        packages = " ".join(missing).replace("_", "-")
        raise ChatuiError(
            say("engine.library_missing", folder=folder, method=method, packages=packages)
        )


def context_limit_of(spec: ModelSpec, config: Any) -> int:
    """The preset's window, or the config's; never more positions than a table of them holds."""
    text = config.get_text_config(decoder=True)
    names = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length")
    told = (getattr(text, name, None) for name in names)
    found = [value for value in told if isinstance(value, int) and value > 0]
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
    """The network without weights, in no memory.

    Raises:
        ChatuiError: the config's values make no network.
    """
    try:
        with torch.device("meta"):
            return network_class(config, family)(copy.deepcopy(config))
    except _NO_NETWORK as error:
        raise _wrong_config(folder, error) from error


def _wrong_config(folder: Path, error: Exception) -> ChatuiError:
    # The errors of configs go on about their own classes; the last line says what is wrong.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1].rstrip(".") if lines else type(error).__name__
    return ChatuiError(say("engine.wrong_config", folder=folder, reason=reason))
