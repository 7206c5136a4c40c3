"""The folder of an adapter in training, with the state of its run, from which it is taken up."""

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
"""In the folder, apart from what is read as an adapter."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run saves.

    Attributes:
        path: the folder.
        key: of the run; that of another one is not taken up.
    """

    path: Path
    key: str

    def check(self) -> None:
        """Refuse to write among files that are no adapter.

        Raises:
            ChatuiError: there are such files.
        """
        full = self.path.is_dir() and any(self.path.iterdir())
        if self.path.is_file() or (full and not (self.path / STATE_FILE).is_file()):
            raise ChatuiError(say("tune.other_folder", path=self.path))

    def save(self, model: Any, saved: dict[str, Any]) -> None:
        """Put the adapter and the state of the run into the folder, or leave it as it is.

        Raises:
            ChatuiError: it cannot be written.
        """
        new = self.path.with_name(self.path.name + ".new")
        state = io.BytesIO()
        # The run is taken up from this one file, so that it cannot be half of one moment.
        torch.save({"key": self.key, **saved}, state)
        try:
            with _uninterrupted():
                shutil.rmtree(new, ignore_errors=True)
                model.save_pretrained(new)
                (new / STATE_FILE).parent.mkdir()
                (new / STATE_FILE).write_bytes(state.getbuffer())
                (self.path / STATE_FILE).parent.mkdir(parents=True, exist_ok=True)
                for file in [each for each in new.rglob("*") if each.is_file()]:
                    file.replace(self.path / file.relative_to(new))
        except (OSError, SafetensorError) as error:
            told = say("conversation.file_unwritable", path=self.path, reason=error)
            raise ChatuiError(told) from error
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def read(self) -> dict[str, Any] | None:
        """What was saved last; None for nothing.

        Raises:
            ChatuiError: it cannot be read, or is of another run.
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
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl+C back until the end: a second one must not tear what the first one saves."""
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
