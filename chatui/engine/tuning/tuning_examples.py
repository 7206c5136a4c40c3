"""The examples of a file that ``chatui dataset`` wrote, read one at a time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from chatui.engine.examples.training_example import IGNORED
from chatui.errors import ChatuiError
from chatui.locales import say


@dataclass(frozen=True)
class TokenizedExample:
    """What one example reads, without its padding.

    Attributes:
        input_ids: int64 ``[tokens]``.
        labels: int64 ``[tokens]``, :data:`IGNORED` where nothing is learned.
    """

    input_ids: Tensor
    labels: Tensor

    @property
    def learned(self) -> int:
        """Tokens that are learned; nothing stands before the first to learn it from."""
        return int((self.labels[1:] != IGNORED).sum())


class TuningExamples:
    """A JSON Lines file of examples; only where each line begins is kept in memory.

    Raises:
        ChatuiError: the file cannot be read, or a line is no example (when it is looked at).
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._starts: list[int] = []
        self._rows = 1 << 62
        try:
            self._stream: BinaryIO = file.open("rb")
            start = 0
            for line in self._stream:
                if line.strip():
                    self._starts.append(start)
                start += len(line)
        except OSError as error:
            raise ChatuiError(
                say("conversation.file_unreadable", path=file, reason=error)
            ) from error
        if not self._starts:
            raise ChatuiError(say("tune.empty", path=file))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> TokenizedExample:
        self._stream.seek(self._starts[index])
        line = self._stream.readline()
        try:
            row = json.loads(line)
            ids, labels = torch.tensor(row["input_ids"]), torch.tensor(row["labels"])
            mask = row.get("attention_mask")
            kept = _content(labels) if mask is None else torch.tensor(mask).bool()
            pair = TokenizedExample(ids[kept], labels[kept])
            if ids.dtype != torch.int64 or ids.ndim != 1 or ids.shape != labels.shape:
                raise ValueError
            if ((labels < 0) & (labels != IGNORED)).any() or (pair.input_ids < 0).any():
                raise ValueError
        except (ValueError, TypeError, KeyError, IndexError, RuntimeError, RecursionError) as error:
            raise ChatuiError(
                say("tune.no_example", path=self._file, line=self._line_of(index))
            ) from error
        highest = int(torch.cat((pair.input_ids, pair.labels)).max()) if len(pair.labels) else 0
        if highest >= self._rows:
            raise ChatuiError(
                say("tune.other_tokenizer", path=self._file, id=highest, rows=self._rows)
            )
        return pair

    def check_labels(self) -> None:
        """Refuse examples of which nothing can be learned; the first that teaches is enough.

        Raises:
            ChatuiError: there is none.
        """
        if not any(self[index].learned for index in range(len(self))):
            raise ChatuiError(say("tune.nothing_learned", path=self._file))

    def check_vocabulary(self, rows: int) -> None:
        """Refuse examples of another tokenizer, the first hundred now and the others when read.

        Args:
            rows: of the model's embeddings.

        Raises:
            ChatuiError: an id has no row.
        """
        self._rows = rows
        for index in range(min(len(self), 100)):
            self[index]

    def _line_of(self, index: int) -> int:
        self._stream.seek(0)
        return 1 + self._stream.read(self._starts[index]).count(b"\n")


def _content(labels: Tensor) -> slice:
    """Everything up to the last label: what follows in a file without a mask is padding."""
    learned = (labels != IGNORED).nonzero()
    return slice(0, int(learned[-1]) + 1 if len(learned) else len(labels))
