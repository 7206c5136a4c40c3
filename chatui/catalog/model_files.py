"""Reading a model's small files, and saying what is wrong with one that is no such file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chatui.errors import ChatuiError
from chatui.locales import say

_POINTER = b"version https://git-lfs"
"""How a Git LFS pointer begins (git-lfs, docs/spec.md): what a clone without LFS leaves."""


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
    """The JSON object in ``file``.

    Raises:
        ChatuiError: it cannot be read, or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ChatuiError(say("catalog.unreadable", file=file, reason=reason)) from error
    except (ValueError, RecursionError) as error:
        check_not_pointer(file)
        raise ChatuiError(say("catalog.unreadable", file=file, reason=error)) from error
    if not isinstance(value, dict):
        raise ChatuiError(say("catalog.unreadable", file=file, reason=say("engine.no_object")))
    return value
