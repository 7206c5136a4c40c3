"""Read the training examples of a file written by ``chatui dataset``, one at a time."""

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
    """A training example without padding.

    Attributes:
        input_ids: int64 ``[tokens]``.
        labels: int64 ``[tokens]``, :data:`IGNORED` for tokens that are not learned.
    """

    input_ids: Tensor
    labels: Tensor

    @property
    def learned_count(self) -> int:
        """Number of tokens to learn; the first token is never learned, as none precedes it."""
        return int((self.labels[1:] != IGNORED).sum())


class TuningExamples:
    """A JSON Lines file of examples, of which only the offsets of the lines are in memory.

    Raises:
        ChatuiError: the file cannot be read or is empty; on access, a line is not an example.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._starts: list[int] = []
        self._vocabulary = 1 << 62
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
            kept = _unpadded(labels) if mask is None else torch.tensor(mask).bool()
            example = TokenizedExample(ids[kept], labels[kept])
            if ids.dtype != torch.int64 or ids.ndim != 1 or ids.shape != labels.shape:
                raise ValueError
            if ((labels < 0) & (labels != IGNORED)).any() or (example.input_ids < 0).any():
                raise ValueError
        except (ValueError, TypeError, KeyError, IndexError, RuntimeError, RecursionError) as error:
            raise ChatuiError(
                say("tune.no_example", path=self._file, line=self._line_number(index))
            ) from error
        tokens = torch.cat((example.input_ids, example.labels))
        highest = int(tokens.max()) if len(tokens) else 0
        if highest >= self._vocabulary:
            raise ChatuiError(
                say("tune.other_tokenizer", path=self._file, id=highest, rows=self._vocabulary)
            )
        return example

    def check_labels(self) -> None:
        """Refuse a file in which no example has tokens to learn.

        Raises:
            ChatuiError: there is no such example, or a line is not an example.
        """
        if not any(self[index].learned_count for index in range(len(self))):
            raise ChatuiError(say("tune.nothing_learned", path=self._file))

    def check_vocabulary(self, rows: int) -> None:
        """Refuse ids that are not in the vocabulary; later examples are checked when read.

        Args:
            rows: rows of the model's embedding.

        Raises:
            ChatuiError: one of the first hundred examples has an id without a row.
        """
        self._vocabulary = rows
        for index in range(min(len(self), 100)):
            self[index]

    def _line_number(self, index: int) -> int:
        self._stream.seek(0)
        return 1 + self._stream.read(self._starts[index]).count(b"\n")


def _unpadded(labels: Tensor) -> slice:
    """Return the range up to the last label; in a file without a mask the rest is padding."""
    learned = (labels != IGNORED).nonzero()
    return slice(0, int(learned[-1]) + 1 if len(learned) else len(labels))
