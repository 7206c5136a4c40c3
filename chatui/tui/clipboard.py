"""The system clipboard, for terminals without the OSC 52 sequence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_SECONDS = 5.0


def copy(text: str) -> None:
    """Copy ``text`` with the first clipboard program that is installed, if there is one."""
    command = _command()
    if command:
        try:
            subprocess.run(
                command,
                input=text.encode("utf-8", "replace"),
                # The program stays in the background and would keep inherited pipes open.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            # The terminal has received the text already.
            return


def _command() -> tuple[str, ...]:
    """Return the command of the first installed program, or ()."""
    known: list[tuple[str, ...]] = [("pbcopy",)] if sys.platform == "darwin" else []
    if os.environ.get("WAYLAND_DISPLAY"):
        known.append(("wl-copy",))
    if os.environ.get("DISPLAY"):
        known += [("xclip", "-selection", "clipboard"), ("xsel", "--input", "--clipboard")]
    return next((each for each in known if shutil.which(each[0])), ())
