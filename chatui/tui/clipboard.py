"""The system's own clipboard, for terminals that do not pass on what an app copies (OSC 52)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

_SECONDS = 5.0


def copy(text: str) -> None:
    """Give ``text`` to the program that holds the clipboard here, if there is one."""
    command = _command()
    if command:
        try:
            subprocess.run(
                command,
                input=text.encode("utf-8", "replace"),
                # What keeps the text for others to paste would keep these open.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError):
            # The terminal has it.
            return


def _command() -> tuple[str, ...]:
    """The first program that is there; () if there is none."""
    known: list[tuple[str, ...]] = [("pbcopy",)] if sys.platform == "darwin" else []
    if os.environ.get("WAYLAND_DISPLAY"):
        known.append(("wl-copy",))
    if os.environ.get("DISPLAY"):
        known += [("xclip", "-selection", "clipboard"), ("xsel", "--input", "--clipboard")]
    return next((each for each in known if shutil.which(each[0])), ())
