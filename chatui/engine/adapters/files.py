"""Read an adapter's config and the headers of its tensors, and find its tokenizer.

Tensor names come from all versions of peft and from bare state dicts. A LoRA pair is
``MODULE.lora_A.weight`` and ``MODULE.lora_B.weight``; bare state dicts insert the adapter's name
(``lora_A.default.weight``). All other tensors replace a tensor of the base (``modules_to_save``,
biases, resized embeddings).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from chatui.catalog.model_files import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    has_tokenizer,
    read_json_object,
)
from chatui.engine.weights import TensorEntry, find_weights, read_entries
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.messages import Adapter
from chatui.validation_errors import describe_error

PREFIX_ENCODER = "prefix_encoder."

_WRAPPERS = re.compile(r"^(base_model\.(model\.)?|module\.|_orig_mod\.)+")
_LORA = re.compile(
    r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)"
    r"(?:\.(?P<name>[^.]+))??(?:\.(?P<leaf>weight|bias))?"
)
_SAVED = re.compile(r"\.modules_to_save(?:\.(?!weight$|bias$)[^.]+)?")
_BUFFERS = ("rotary_emb.inv_freq", ".masked_bias", ".attn.bias", ".causal_mask")

# Settings of peft beyond plain LoRA, which must not be ignored.
_UNSUPPORTED = {
    "alora_invocation_tokens": "aLoRA",
    "arrow_config": "Arrow",
    "kasa_config": "KaSA",
    "layer_replication": "layer replication",
    "megatron_config": "Megatron",
    "target_parameters": "target_parameters",
    "trainable_token_indices": "trainable tokens",
    "use_bdlora": "BD-LoRA",
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
}

# Initialisations that do not change the base; others (PiSSA, OLoRA, …) do.
_PLAIN_INITIALISATIONS = (True, False, None, "gaussian", "eva", "orthogonal")


@dataclass(frozen=True)
class LoraConfig:
    """The settings of an adapter_config.json that chatui uses, with peft's names."""

    lora_alpha: float | None = None
    use_rslora: bool | None = None
    alpha_pattern: dict[str, float] | None = None
    target_modules: str | list[str] | None = None
    exclude_modules: str | list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    enable_lora: list[bool] | None = None
    base_model_name_or_path: str | None = None


@dataclass(frozen=True)
class AdapterFiles:
    """The files of an adapter.

    Attributes:
        adapter: the adapter as given by the user.
        title: its name for messages.
        entries: the tensors in its files.
        config: its adapter_config.json; None for a bare state dict or a prefix.
        tokenizer: folder of its tokenizer; None if it has none.
    """

    adapter: Adapter
    title: str
    entries: tuple[TensorEntry, ...]
    config: LoraConfig | None = None
    tokenizer: Path | None = None


def open_adapter(adapter: Adapter) -> AdapterFiles:
    """Find an adapter's files and read their headers.

    A folder is a PEFT adapter, or a checkpoint of ChatGLM-6B's P-Tuning v2 with the prefix only. A
    file is a state dict; if its folder has an adapter_config.json, that is used, and a tokenizer
    beside it.

    Raises:
        ChatuiError: a file is missing, truncated or contains code, or the adapter's type is not
            supported.
    """
    path = Path(adapter.path)
    if not path.exists():
        raise ChatuiError(say("adapters.no_such_path", path=path))
    folder = path if path.is_dir() else path.parent
    if not (folder / ADAPTER_CONFIG).is_file():
        if path.is_dir():
            return AdapterFiles(adapter, title_of(path), _prefix_entries(path))
        return AdapterFiles(adapter, path.name, read_entries(path))
    config, tokenizer = _read_config(folder), folder if has_tokenizer(folder) else None
    if not path.is_dir():
        return AdapterFiles(adapter, path.name, read_entries(path), config, tokenizer)
    file = next((folder / name for name in ADAPTER_WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        raise ChatuiError(say("adapters.no_weights", folder=folder))
    return AdapterFiles(adapter, title_of(path), read_entries(file), config, tokenizer)


def title_of(folder: Path) -> str:
    """Return a folder's name for messages: its hub id if it is in Hugging Face's cache."""
    for part in reversed(folder.absolute().parts):
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return folder.resolve().name


def _prefix_entries(folder: Path) -> tuple[TensorEntry, ...]:
    """Return the tensors of a folder that has a P-Tuning v2 prefix and no adapter_config.json."""
    if any((folder / name).is_file() for name in ADAPTER_WEIGHTS):
        raise ChatuiError(say("adapters.no_config", folder=folder))
    try:
        entries = find_weights(folder)
    except ChatuiError:
        if (folder / "config.json").is_file():
            raise
        raise ChatuiError(say("adapters.no_config", folder=folder)) from None
    if not any(PREFIX_ENCODER in entry.key for entry in entries):
        raise ChatuiError(say("adapters.is_model", folder=folder))
    return entries


def _read_config(folder: Path) -> LoraConfig:
    """Read an adapter_config.json; refuse types and features that are not supported."""
    file = folder / ADAPTER_CONFIG
    raw = read_json_object(file)
    kind = str(raw.get("peft_type") or "LORA").upper()
    if kind != "LORA":
        raise ChatuiError(say("adapters.other_kind", folder=folder, kind=kind))
    for key, name in _UNSUPPORTED.items():
        if raw.get(key):
            raise ChatuiError(say("adapters.unsupported", folder=folder, feature=name))
    start = raw.get("init_lora_weights", True)
    if start not in _PLAIN_INITIALISATIONS:
        raise ChatuiError(say("adapters.unsupported", folder=folder, feature=start))
    try:
        config = msgspec.convert(raw, LoraConfig)
        for pattern in config.alpha_pattern or ():
            re.compile(pattern)
    except (msgspec.ValidationError, re.error) as error:
        raise ChatuiError(
            say("catalog.unreadable", file=file, reason=describe_error(error))
        ) from error
    return config


@dataclass
class AdapterContents:
    """An adapter's tensors, by type.

    Attributes:
        pairs: LoRA pairs by module, with the entries "A" and "B", or "embedding_A" and
            "embedding_B", and optionally "bias" (of B) and "magnitude_vector" (DoRA).
        replaced: tensors that replace the base's, by name.
        prefix: weights of a P-Tuning v2 prefix encoder, by name.
    """

    pairs: dict[str, dict[str, TensorEntry]] = field(default_factory=dict)
    replaced: dict[str, TensorEntry] = field(default_factory=dict)
    prefix: dict[str, TensorEntry] = field(default_factory=dict)


def sort_entries(entries: Iterable[TensorEntry]) -> AdapterContents:
    """Sort an adapter's tensors by their names."""
    contents = AdapterContents()
    for entry in entries:
        name = _WRAPPERS.sub("", entry.key)
        match = _LORA.fullmatch(name)
        if match:
            part = "bias" if match["leaf"] == "bias" else match["part"]
            contents.pairs.setdefault(match["module"], {})[part] = entry
        elif PREFIX_ENCODER in name:
            contents.prefix[name.partition(PREFIX_ENCODER)[2]] = entry
        elif ".original_module." not in name and not name.endswith(_BUFFERS):
            contents.replaced[_SAVED.sub("", name).replace(".base_layer.", ".")] = entry
    return contents
