"""Which family a folder of weights belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chatui.catalog.model_files import read_json_object
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.prompting.families import model_type_of

# Tokens that end a reply in a family, besides those that its files name.
END_TOKENS = {"moss": ("<eom>",), "llama": ("</s>",), "chatglm": ("<eop>",)}


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
