"""Replies of several models to recorded queries, compared with the recorded replies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from chatui.text_difference import differences

RECORDED = 0
"""Column of the recorded replies; the models follow in order."""


@dataclass(frozen=True)
class ComparedReply:
    """A reply to a recorded query.

    Attributes:
        text: the final text.
        ids, pieces: its tokens and the text that each added; ids are -1 if not known.
        seconds: duration; 0 if not known.
        error: the error that ended it; "" for none.
    """

    text: str
    ids: tuple[int, ...] = ()
    pieces: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""

    @property
    def tokens_per_second(self) -> float | None:
        """Speed; None if not known."""
        return len(self.ids) / self.seconds if self.ids and self.seconds else None


@dataclass
class ComparedRound:
    """The replies to one query.

    Attributes:
        file, number: the transcript and the number of the round in it, from 1.
        query: the user's text.
        replies: by column; columns without a reply yet are missing.
        logprobs: log probabilities of the tokens of a column's reply under another column's model,
            by (reply's column, model's column); missing if the model does not report them.
    """

    file: str
    number: int
    query: str
    replies: dict[int, ComparedReply] = field(default_factory=dict)
    logprobs: dict[tuple[int, int], tuple[float, ...]] = field(default_factory=dict)

    def agreement(self, column: int, other: int = RECORDED) -> float | None:
        """Return the :func:`agreement` of two columns' replies; None without both."""
        found = [self.replies.get(each) for each in (column, other)]
        texts = [reply.text for reply in found if reply is not None and not reply.error]
        return agreement(*texts) if len(texts) == 2 else None

    def perplexity(self, column: int, model: int) -> float | None:
        """Return the :func:`perplexity` of a column's reply under another column's model."""
        return perplexity([self.logprobs.get((column, model), ())])


@dataclass
class ComparedReplies:
    """A comparison of all rounds.

    Attributes:
        names: names of the columns.
        models: description of each column's model, as in transcripts.
        rounds: in the order of the files.
    """

    names: Sequence[str]
    models: dict[int, Mapping[str, Any]]
    rounds: Sequence[ComparedRound]

    def replies(self, column: int) -> list[ComparedReply]:
        """Return a column's replies without an error."""
        found = (each.replies.get(column) for each in self.rounds)
        return [reply for reply in found if reply is not None and not reply.error]

    def identical_count(self, column: int) -> int:
        """Return the number of replies equal to the recorded ones."""
        return sum(each.agreement(column) == 1 for each in self.rounds)

    def agreement(self, column: int, other: int = RECORDED) -> float | None:
        """Return the mean :func:`agreement` over the rounds."""
        found = (each.agreement(column, other) for each in self.rounds)
        return _mean(share for share in found if share is not None)

    def tokens_per_second(self, column: int) -> float | None:
        """Return the speed over all replies with a known duration."""
        known = [each for each in self.replies(column) if each.tokens_per_second is not None]
        seconds = sum(each.seconds for each in known)
        return sum(len(each.ids) for each in known) / seconds if seconds else None

    def perplexity(self, column: int, model: int) -> float | None:
        """Return the :func:`perplexity` over the tokens of all replies."""
        return perplexity(each.logprobs.get((column, model), ()) for each in self.rounds)


def agreement(one: str, other: str) -> float:
    """Return the share of the characters of both texts that match in order, 0 to 1."""
    if not one and not other:
        return 1.0
    differing = sum(stop - start for spans in differences(one, other) for start, stop in spans)
    return 1 - differing / (len(one) + len(other))


def perplexity(logprobs: Iterable[Sequence[float]]) -> float | None:
    """Return exp of the mean negative log probability of a token; None without tokens.

    Values of models with different tokenizers are not comparable.
    """
    loss = _mean(-value for values in logprobs for value in values)
    # exp overflows above 709.
    return None if loss is None else math.exp(min(loss, 700.0))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return fmean(found) if found else None
