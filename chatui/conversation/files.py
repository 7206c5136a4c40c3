"""Writing a text file wholly or not at all."""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path

from chatui.errors import ChatuiError
from chatui.locales import say


def write_whole(file: Path, text: str) -> None:
    """Write UTF-8 text so that ``file`` holds either all of it or what it held before.

    The text goes into a temporary file beside it, is flushed to the disk and takes the name. A
    link is followed; what is no regular file (a pipe, a device) is written directly.

    Raises:
        ChatuiError: the file cannot be written.
    """
    try:
        target = Path(os.path.realpath(file))
        if target.exists() and not target.is_file() and not target.is_dir():
            target.write_text(text, encoding="utf-8", newline="")
            return
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        temporary = target.with_name(f".chatui-{uuid.uuid4().hex}.tmp")
        try:
            with temporary.open("x", encoding="utf-8", newline="") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ChatuiError(say("conversation.file_unwritable", path=file, reason=reason)) from error


def _sync_folder(folder: Path) -> None:
    """Make the new name last through a power cut, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
