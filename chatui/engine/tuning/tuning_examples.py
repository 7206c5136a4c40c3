"""Read the training examples of a file written by ``chatui dataset``, one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
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


class _Row(msgspec.Struct):
    input_ids: list[int]
    labels: list[int]
    attention_mask: list[int | bool] | None = None


class TuningExamples:
    """A JSON Lines file of examples, of which only the offsets of the lines are in memory.

    Raises:
        ChatuiError: the file cannot be read or is empty, a line is not an example, or no example
            has tokens to learn.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._starts: list[int] = []
        self._highest_id = 0
        start = learned = 0
        try:
            self._stream = file.open("rb")
            for line in self._stream:
                if line.strip():
                    ids, labels = self._parsed(line, start)
                    self._starts.append(start)
                    self._highest_id = max(self._highest_id, *ids, *labels, 0)
                    learned += any(label != IGNORED for label in labels[1:])
                start += len(line)
        except OSError as error:
            raise ChatuiError(
                say("conversation.file_unreadable", path=file, reason=error)
            ) from error
        if not self._starts:
            raise ChatuiError(say("tune.empty", path=file))
        if not learned:
            raise ChatuiError(say("tune.nothing_learned", path=file))

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> TokenizedExample:
        start = self._starts[index]
        self._stream.seek(start)
        ids, labels = self._parsed(self._stream.readline(), start)
        return TokenizedExample(*(torch.tensor(each, dtype=torch.int64) for each in (ids, labels)))

    def check_vocabulary(self, rows: int) -> None:
        """Refuse ids that are not in the vocabulary.

        Args:
            rows: rows of the model's embedding.

        Raises:
            ChatuiError: an id has no row.
        """
        if self._highest_id >= rows:
            raise ChatuiError(
                say("tune.other_tokenizer", path=self._file, id=self._highest_id, rows=rows)
            )

    def _parsed(self, line: bytes, start: int) -> tuple[list[int], list[int]]:
        """Return the ids and labels of the line at an offset, without padding.

        In a line without a mask, what follows the last label is padding.
        """
        try:
            row = msgspec.json.decode(line, type=_Row)
            ids, labels, mask = row.input_ids, row.labels, row.attention_mask
            if mask is None:
                learned = (at for at, label in enumerate(labels, 1) if label != IGNORED)
                end = max(learned, default=len(labels))
                mask = [at < end for at in range(len(labels))]
            kept = [pair for *pair, is_kept in zip(ids, labels, mask, strict=True) if is_kept]
            if any(id < 0 for id, _ in kept) or any(x < 0 and x != IGNORED for x in labels):
                raise ValueError
        except (ValueError, RecursionError) as error:
            self._stream.seek(0)
            number = 1 + self._stream.read(start).count(b"\n")
            raise ChatuiError(say("tune.no_example", path=self._file, line=number)) from error
        return [id for id, _ in kept], [label for _, label in kept]
