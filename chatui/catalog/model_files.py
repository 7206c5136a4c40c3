"""Reading a model's small files, and saying what is wrong with one that is no such file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import without_surrogates

_POINTER = b"version https://git-lfs"
"""How a Git LFS pointer begins (git-lfs, docs/spec.md): what a clone without LFS leaves."""

MOST_POINTER_BYTES = 1024

_TOKENIZERS = ("tokenizer.model", "tokenizer.json", "vocab.txt", "vocab.json")

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def check_not_pointer(file: Path) -> None:
    """Refuse a Git LFS pointer in place of a file.

    Raises:
        ChatuiError: ``file`` is a pointer.
    """
    try:
        with file.open("rb") as stream:
            is_pointer = stream.read(len(_POINTER)) == _POINTER
    except OSError:
        return
    if is_pointer:
        raise ChatuiError(say("catalog.lfs_pointer", file=file))


def read_json_object(file: Path) -> dict[str, Any]:
    """The JSON object in ``file``; lone surrogates in its strings become U+FFFD.

    Raises:
        ChatuiError: it cannot be read, or holds something else.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        value = json.loads(text)
        if _SURROGATE.search(text):
            value = json.loads(without_surrogates(json.dumps(value, ensure_ascii=False)))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ChatuiError(say("catalog.unreadable", file=file, reason=reason)) from error
    except (ValueError, RecursionError) as error:
        check_not_pointer(file)
        raise ChatuiError(say("catalog.unreadable", file=file, reason=error)) from error
    if not isinstance(value, dict):
        raise ChatuiError(say("catalog.unreadable", file=file, reason=say("engine.no_object")))
    return value


def has_tokenizer(folder: Path) -> bool:
    """Whether a tokenizer's vocabulary lies in ``folder``."""
    return any((folder / name).is_file() for name in _TOKENIZERS)
