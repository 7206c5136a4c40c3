"""What several models reply to recorded queries, beside what was recorded, and the sums of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chatui.text_difference import differences

RECORDED = 0
"""The column of what was recorded; those of the models follow in their order."""


@dataclass(frozen=True)
class ComparedReply:
    """A reply to a recorded query.

    Attributes:
        text: as it is kept.
        ids, pieces: its tokens and what each added to the text; ids are -1 if they are not told.
        seconds: what it took; 0 if not known.
        error: the sentence that ended it; "" for none.
    """

    text: str
    ids: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def tokens_per_second(self) -> float | None:
        """None if it is not known."""
        return len(self.ids) / self.seconds if self.ids and self.seconds else None


@dataclass
class ComparedRound:
    """The replies to one query.

    Attributes:
        file, number: if it was recorded; rounds count from 1.
        query: what the user typed.
        replies: by column, as far as they have come.
        logprobs: the reply of the first column under the model of the second: log probabilities of
            its tokens. Left out if the model cannot tell.
    """

    file: str
    number: int
    query: str
    replies: dict[int, ComparedReply] = field(default_factory=dict)
    logprobs: dict[tuple[int, int], tuple[float, ...]] = field(default_factory=dict)

    def agreement(self, column: int, other: int = RECORDED) -> float | None:
        """The share of the characters of both replies that they have in common, in their order."""
        found = [self.replies.get(each) for each in (column, other)]
        texts = [reply.text for reply in found if reply is not None and not reply.error]
        return agreement(*texts) if len(texts) == 2 else None

    def perplexity(self, column: int, model: int) -> float | None:
        """Of a reply under the model of a column; see :func:`perplexity`."""
        return perplexity([self.logprobs.get((column, model), ())])


@dataclass
class ComparedReplies:
    """A whole comparison.

    Attributes:
        names: of the columns.
        models: what ran, by column, as a transcript describes it.
        rounds: in the order of the files.
    """

    names: Sequence[str]
    models: dict[int, Mapping[str, Any]]
    rounds: Sequence[ComparedRound]

    def replies(self, column: int) -> list[ComparedReply]:
        """All that came of a column without an error."""
        found = (each.replies.get(column) for each in self.rounds)
        return [reply for reply in found if reply is not None and not reply.error]

    def same(self, column: int) -> int:
        """How many replies are the recorded ones to the letter."""
        return sum(each.agreement(column) == 1 for each in self.rounds)

    def agreement(self, column: int, other: int = RECORDED) -> float | None:
        """The mean over the rounds."""
        found = (each.agreement(column, other) for each in self.rounds)
        return mean(share for share in found if share is not None)

    def tokens_per_second(self, column: int) -> float | None:
        """Over all replies whose time is known."""
        known = [each for each in self.replies(column) if each.tokens_per_second is not None]
        seconds = sum(each.seconds for each in known)
        return sum(len(each.ids) for each in known) / seconds if seconds else None

    def perplexity(self, column: int, model: int) -> float | None:
        """Over the tokens of all replies; see :func:`perplexity`."""
        return perplexity(each.logprobs.get((column, model), ()) for each in self.rounds)


def agreement(one: str, other: str) -> float:
    """The share of the characters of both texts that they have in common, in their order."""
    if not one and not other:
        return 1.0
    differing = sum(stop - start for spans in differences(one, other) for start, stop in spans)
    return 1 - differing / (len(one) + len(other))


def perplexity(logprobs: Iterable[Sequence[float]]) -> float | None:
    """exp of the mean negative log probability of a token; None without tokens.

    Models with different tokenizers cut a text into different tokens: then theirs do not compare.
    """
    each = mean(-value for values in logprobs for value in values)
    # Beyond it exp overflows.
    return None if each is None else math.exp(min(each, 700.0))


def mean(values: Iterable[float]) -> float | None:
    """None without values."""
    found = list(values)
    return sum(found) / len(found) if found else None
