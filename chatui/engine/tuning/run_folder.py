"""The folder of an adapter in training, with the saved state from which its run is resumed."""

from __future__ import annotations

import io
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from chatui.errors import ChatuiError
from chatui.locales import say

STATE_FILE = Path("checkpoint", "training_state.pt")
"""Path of the state in the folder, outside the adapter's own files."""


@dataclass(frozen=True)
class RunFolder:
    """The output folder of a run.

    Attributes:
        path: the folder.
        key: identifies the run; a state with another key is not resumed.
    """

    path: Path
    key: str

    def check(self) -> None:
        """Refuse a folder with files of something else than a run.

        Raises:
            ChatuiError: there are such files, or the path is a file.
        """
        is_used = self.path.is_dir() and any(self.path.iterdir())
        if self.path.is_file() or (is_used and not (self.path / STATE_FILE).is_file()):
            raise ChatuiError(say("tune.other_folder", path=self.path))

    def save(self, model: Any, saved: dict[str, Any]) -> None:
        """Save the adapter and the run's state.

        Raises:
            ChatuiError: the folder cannot be written.
        """
        new = self.path.with_name(self.path.name + ".new")
        state = io.BytesIO()
        # A run is resumed from this file alone, which is replaced atomically.
        torch.save({"key": self.key, **saved}, state)
        try:
            with uninterrupted():
                shutil.rmtree(new, ignore_errors=True)
                model.save_pretrained(new)
                (new / STATE_FILE).parent.mkdir()
                (new / STATE_FILE).write_bytes(state.getbuffer())
                (self.path / STATE_FILE).parent.mkdir(parents=True, exist_ok=True)
                for file in [each for each in new.rglob("*") if each.is_file()]:
                    file.replace(self.path / file.relative_to(new))
        except (OSError, SafetensorError) as error:
            sentence = say("conversation.file_unwritable", path=self.path, reason=error)
            raise ChatuiError(sentence) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def read(self) -> dict[str, Any] | None:
        """Return the saved state; None if there is none.

        Raises:
            ChatuiError: the state cannot be read, or belongs to another run.
        """
        file = self.path / STATE_FILE
        try:
            saved: dict[str, Any] = torch.load(file, weights_only=True)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise ChatuiError(say("tune.bad_state", path=file)) from error
        if saved.get("key") != self.key:
            raise ChatuiError(say("tune.other_run", path=self.path))
        return saved


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Delay Ctrl+C until the end of the block, in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
