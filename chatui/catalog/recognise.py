"""Recognise a model from the config in its folder or from the header of its file.

transformers is not imported: the architectures that it runs are parsed from the source of its auto
classes.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chatui.catalog.gguf import check_gguf, read_gguf
from chatui.catalog.memory_need import NO_CACHE, CacheSize, cache_size
from chatui.catalog.model_files import (
    check_not_pointer,
    is_file,
    is_rwkv_file,
    read_json_object,
)
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.format import CHAT_TEMPLATE, first_class, format_of, model_type_of

NATIVE = frozenset({"chatglm", "moss"})
"""Families that chatui runs itself, because transformers does not."""

_CAUSAL_SUFFIXES = ("CausalLM", "LMHeadModel")
"""Endings of the names of classes that generate text."""

_WINDOW_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "seq_length",
    "context_length",
    "n_ctx",
)


_LATER_GLM_KEYS = ("padded_vocab_size", "multi_query_attention")

_SAMPLING_PRESETS = {
    "chatglm": "chatglm-6b",
    "moss": "moss",
    "bloom": "bloomz",
    "gpt2": "gpt2-chinese",
    "rwkv": "chatrwkv",
}
"""Family -> preset whose sampling is the default for models without a chat template."""


@dataclass(frozen=True)
class RecognisedModel:
    """A model as its config or header describes it.

    Attributes:
        family: the engine's name for it, e.g. "llama"; "" if unknown.
        format: name of the prompt format; "" if the backend chooses.
        context_limit: tokens; None if not stated.
        lacks: a sentence that says why it cannot run here; "" if it can.
        cache: size of the KV cache.
        dtype_bytes: bytes per number in its files; 0 if quantised or unknown.
        backend: entry point name in the group ``chatui.backends``.
        sampling_preset: the preset with its default sampling; "" for none.
    """

    family: str
    format: str
    context_limit: int | None = None
    lacks: str = ""
    cache: CacheSize = NO_CACHE
    dtype_bytes: int = 2
    backend: str = "local"
    sampling_preset: str = ""


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """Read a JSON config in a model's folder.

    Raises:
        ChatuiError: the file is missing, cannot be read, or is not a JSON object.
    """
    if not is_file(folder / name):
        raise ChatuiError(say("catalog.no_model", path=folder))
    return read_json_object(folder / name)


def recognise(path: Path) -> RecognisedModel:
    """Recognise the model in a folder with a config, or in a file.

    Raises:
        ChatuiError: it is not a model, or its config or header cannot be read.
    """
    if not path.is_dir():
        return _of_file(path)
    config = read_config(path)
    family = family_of(config, path.name)
    format = format_of(family, has_chat_template=_has_chat_template(path))
    return RecognisedModel(
        family,
        format,
        _window_of(config),
        why_unsupported(config, path.name) if family else say("catalog.no_family", path=path),
        cache_size(config),
        _dtype_bytes(config),
        sampling_preset=_SAMPLING_PRESETS.get(family, "") if format != CHAT_TEMPLATE else "",
    )


def _of_file(file: Path) -> RecognisedModel:
    if file.suffix == ".gguf" or read_gguf(file):
        header = check_gguf(file)
        format = CHAT_TEMPLATE if header.has_chat_template else ""
        limit, cache = header.context_limit, header.cache
        return RecognisedModel(header.architecture, format, limit, "", cache, 0, "llama.cpp")
    if is_rwkv_file(file):
        world = "world" in file.name.casefold()
        format, preset = ("chatrwkv:world", "chatrwkv-world") if world else ("chatrwkv", "chatrwkv")
        return RecognisedModel("rwkv", format, dtype_bytes=0, sampling_preset=preset)
    check_not_pointer(file)
    raise ChatuiError(say("catalog.no_model", path=file))


def _dtype_bytes(config: dict[str, Any]) -> int:
    if config.get("quantization_bit") or config.get("quantization_config"):
        return 0
    return 4 if config.get("dtype", config.get("torch_dtype")) == "float32" else 2


def family_of(config: dict[str, Any], name: str = "") -> str:
    """Return the family of a config: its model type, or else the family of its class.

    All generations of ChatGLM have the model type "chatglm"; other fields tell them apart.

    Args:
        name: the model's name, which tells CodeGeeX2 from ChatGLM2: their configs are the same.
    """
    model_type = model_type_of(config)
    if (
        model_type != "chatglm"
        or not {"padded_vocab_size", "multi_query_attention"} & config.keys()
    ):
        return model_type
    vocabulary = config.get("padded_vocab_size")
    if isinstance(vocabulary, int) and vocabulary > 100_000:
        return "glm-4"
    names = f"{config.get('_name_or_path', '')} {name}".lower()
    for family in ("codegeex2", "chatglm3", "chatglm2"):
        if family in names:
            return family
    return "chatglm3" if config.get("seq_length") == 8192 else "chatglm2"


_OTHER_KINDS = (
    ("SPEECH_SEQ_2_SEQ", "reads_speech"),
    ("IMAGE_TEXT_TO_TEXT", "reads_more"),
    ("MULTIMODAL_LM", "reads_more"),
    ("SEQ_TO_SEQ_CAUSAL_LM", "encoder_decoder"),
    ("MASKED_LM", "fills_gaps"),
)
"""Auto classes of transformers for other kinds of models -> sentence about them."""


def _classes(auto_class: str) -> dict[str, str]:
    """Return the model types of an auto class, each with its class."""
    return _mapping(f"MODEL_FOR_{auto_class}_MAPPING_NAMES")


@cache
def _mapping(name: str) -> dict[str, str]:
    """Parse a mapping from the source of transformers' auto classes; empty if it is not found."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return {}
    file = Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py"
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        return {}
    section = re.search(rf"^{name}\b[^\n]*\n(.*?)\n\s*\]\n", text, re.S | re.M)
    return dict(re.findall(r'\("([^"]+)",\s*\(?\s*"([^"]+)"', section[1])) if section else {}


def why_unsupported(config: dict[str, Any], name: str = "") -> str:
    """Return a sentence that says why a model cannot run here; "" if it can, or if unknown.

    Args:
        config: the model's config; its model type and architectures are enough.
        name: the model's name.
    """
    family = family_of(config, name)
    if not family:
        return ""
    if family in ("chatglm2", "chatglm3", "codegeex2", "glm-4"):
        return say(f"catalog.later_glm.{family.replace('-', '_')}")
    class_name, causal = first_class(config), _classes("CAUSAL_LM")
    if family in NATIVE or not causal:
        return ""
    for auto_class, sentence in _OTHER_KINDS:
        found = _classes(auto_class).get(family)
        if found is not None and (class_name == found or family not in causal):
            return say(f"catalog.{sentence}", family=family)
    if family in causal:
        if class_name in ("", causal[family]) or class_name.endswith(_CAUSAL_SUFFIXES):
            return ""
        return say("catalog.not_causal", name=class_name)
    is_known = family in _mapping("MODEL_MAPPING_NAMES")
    return say("catalog.not_causal" if is_known else "catalog.unknown_family", name=family)


def _has_chat_template(folder: Path) -> bool:
    if any(is_file(folder / f"chat_template.{suffix}") for suffix in ("jinja", "json")):
        return True
    with suppress(ChatuiError):
        return bool(read_config(folder, "tokenizer_config.json").get("chat_template"))
    return False


def _window_of(config: dict[str, Any]) -> int | None:
    values = (config.get(key) for key in _WINDOW_KEYS)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
