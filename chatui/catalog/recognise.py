"""What a folder of weights is, read from its config alone: family, format, window, what it lacks.

No tensor and no transformers is imported; which architectures transformers runs is read from the
text of its auto classes.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.families import first_class, format_of, model_type_of

NATIVE = frozenset({"chatglm", "moss"})
"""Families that chatui runs and transformers does not."""

_WINDOW_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
    "seq_length",
    "context_length",
    "n_ctx",
)


@dataclass(frozen=True)
class Recognised:
    """What a config says.

    Attributes:
        family: the engine's name for it, e.g. "llama"; "" where the config names none.
        format: name of the prompt format.
        context_limit: tokens; None where the config does not say.
        lacks: why it cannot run here, in a sentence; "" where it can.
    """

    family: str
    format: str
    context_limit: int | None
    lacks: str = ""


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A JSON object among a model's files.

    Raises:
        ChatuiError: it is not there, cannot be read, or is no JSON object.
    """
    file = folder / name
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ChatuiError(say("catalog.no_model", path=folder)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ChatuiError(say("catalog.unreadable", file=file, reason=error)) from error
    if not isinstance(config, dict):
        raise ChatuiError(say("catalog.unreadable", file=file, reason=say("engine.no_object")))
    return config


def recognise(folder: Path) -> Recognised:
    """What the model in ``folder`` is.

    Raises:
        ChatuiError: the folder has no config, or one that cannot be read.
    """
    config = read_config(folder)
    family = family_of(config)
    format = format_of(family, has_chat_template=_has_chat_template(folder))
    return Recognised(family, format, _window_of(config), _lacks(folder, config, family))


def family_of(config: dict[str, Any]) -> str:
    """The family's name: the model type or what the class tells, ChatGLM's generations apart.

    All of them call themselves "chatglm"; only the first has two-dimensional positions.
    """
    model_type = model_type_of(config)
    if model_type != "chatglm" or not (
        "padded_vocab_size" in config or "multi_query_attention" in config
    ):
        return model_type
    if int(config.get("padded_vocab_size") or 0) > 100_000:
        return "glm-4"
    says_three = "chatglm3" in str(config.get("_name_or_path", "")).lower()
    return "chatglm3" if says_three or config.get("seq_length") == 8192 else "chatglm2"


@cache
def causal_types() -> frozenset[str]:
    """The model types that transformers' AutoModelForCausalLM knows; empty where it is absent."""
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    auto = Path(spec.origin).parent / "models" / "auto" / "modeling_auto.py"
    try:
        text = auto.read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    section = re.search(r"MODEL_FOR_CAUSAL_LM_MAPPING_NAMES\b[^\n]*\n(.*?)\n\s*\]\n", text, re.S)
    return frozenset(re.findall(r'\("([^"]+)",', section[1])) if section else frozenset()


def _lacks(folder: Path, config: dict[str, Any], family: str) -> str:
    return lacks_of(config) if family else say("catalog.no_family", path=folder)


def lacks_of(config: dict[str, Any]) -> str:
    """Why a model with this config cannot run here, in a sentence; "" where it can, or none tells.

    A hub's excerpt of a config (model type and architectures) is enough.
    """
    family = family_of(config)
    if not family:
        return ""
    if family in ("chatglm2", "chatglm3", "glm-4"):
        return say(f"catalog.later_glm.{family.replace('-', '_')}")
    if family in NATIVE or family in causal_types() or not causal_types():
        name = first_class(config)
        return "" if not name or _writes(name) else say("catalog.not_causal", name=name)
    return say("catalog.unknown_family", family=family)


def _writes(architecture: str) -> bool:
    """Whether a class of this name generates text."""
    return architecture.endswith(("CausalLM", "LMHeadModel", "Generation", "ChatGLMModel"))


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        return bool(read_config(folder, "tokenizer_config.json").get("chat_template"))
    except ChatuiError:
        return False


def _window_of(config: dict[str, Any]) -> int | None:
    for key in _WINDOW_KEYS:
        value = config.get(key)
        if isinstance(value, int) and value > 0:
            return value
    return None
