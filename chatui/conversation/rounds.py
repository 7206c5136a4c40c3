"""What was said, as values: pieces, rounds and conversations."""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from chatui.locales import say
from chatui.text import fit_cells, one_line

RoundState: TypeAlias = Literal["streaming", "done", "stopped", "failed", "interrupted"]
"""Of a round: being written; ended by the model; stopped by the user; ended by an error; left
behind by a process that died."""

Rating: TypeAlias = Literal[-1, 0, 1]
"""What the user thinks of a reply: bad, nothing said, good."""

# Limits hold for what is read from files.
Epoch: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e7)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

TITLE_CELLS = 30
_MOST_BYTES = 1 << 24
"""Of the pieces of one transcript, in memory."""


class Piece(msgspec.Struct, frozen=True):
    """One streamed token.

    Attributes:
        at_seconds: when it came, since the round's start.
        text: what it added to the reply.
        token_id: -1 if the backend does not tell.
        logprob: natural log of its probability; None if not known.
        alternatives: the best tokens there, as (id, piece, probability); empty if not asked for.
    """

    at_seconds: float
    text: str
    token_id: int = -1
    logprob: float | None = None
    alternatives: tuple[tuple[int, str, float], ...] = ()


class PackedPieces(Mapping[int, tuple[Piece, ...]]):
    """Pieces by round id, on the disk where they are many; a round's are made when asked for."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._file = SpooledTemporaryFile(_MOST_BYTES)  # noqa: SIM115  # it is there as long as this

    def __setitem__(self, round_id: int, pieces: Iterable[Piece]) -> None:
        # Unlike other forms, it takes lone surrogates.
        data = marshal.dumps(
            [(p.at_seconds, p.text, p.token_id, p.logprob, p.alternatives) for p in pieces]
        )
        self._places[round_id] = self._file.seek(0, os.SEEK_END), len(data)
        self._file.write(data)

    def __getitem__(self, round_id: int) -> tuple[Piece, ...]:
        start, size = self._places[round_id]
        self._file.seek(start)
        return tuple(Piece(*values) for values in marshal.loads(self._file.read(size)))

    def __iter__(self) -> Iterator[int]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


@dataclass(frozen=True)
class Round:
    """A query and its reply.

    Attributes:
        id: unique in the store.
        conversation_id: the conversation it belongs to.
        parent_id: the round before it; None for a first round. Rounds with the same parent are
            versions of each other (regenerated, or the query edited).
        query: what the user typed.
        reply: as shown and kept; while streaming, what has been saved so far.
        state: see :data:`RoundState`.
        model: name of the model that replied.
        format: prompt format in use.
        finish_reason: as in ``messages.Done``; None if the reply did not end by itself.
        seed: repeats the reply; None if not known.
        sampling: the settings of the reply by the names of ``SamplingSettings``, and "think" if
            the user switched thinking on or off, "edited" if the user wrote in the reply. Of a
            reply that goes on from another, "begun_pieces": how many of its pieces are that one's,
            and "next_id" if the user chose the token behind them.
        prompt_tokens, reused_tokens, output_tokens: counts; ``reused_tokens`` of the prompt came
            from a kept KV cache.
        started_at: seconds since the epoch.
        seconds: from start to end.
        error: the sentence that ended a failed round; None for the others.
        rating, note: the user's, of the reply.
        corrects_id: the round whose reply the user corrected by writing this one; None if the
            model wrote it.
        version, versions: which of the rounds with this parent it was when it was read, from 1,
            and of how many.
        damaged: columns of the store that could not be read, and were left out.
    """

    id: int
    conversation_id: int
    parent_id: int | None
    query: str
    reply: str = ""
    state: RoundState = "streaming"
    model: str = ""
    format: str = ""
    finish_reason: str | None = None
    seed: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: Count = 0
    reused_tokens: Count = 0
    output_tokens: Count = 0
    started_at: Epoch = 0.0
    seconds: Seconds = 0.0
    error: str | None = None
    rating: Rating = 0
    note: str = ""
    corrects_id: int | None = None
    version: int = field(default=1, compare=False)
    versions: int = field(default=1, compare=False)
    damaged: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class RenderedPrompt:
    """What the model read for a round.

    Attributes:
        text: the rendered rounds.
        input_ids, tokens: the same as ids and as pieces; empty if the backend did not tell.
        position_ids: rows of positions, two for ChatGLM-6B; empty if they are 0, 1, 2, ….
        dropped_rounds: how many of the oldest rounds did not fit and were left out.
        context_limit: tokens, prompt and reply together; 0 if not known.
        memory_bytes: what the engine's process held then; 0 if not known.
    """

    text: str
    input_ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    position_ids: tuple[tuple[int, ...], ...] = ()
    dropped_rounds: int = 0
    context_limit: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True)
class Conversation:
    """A tree of rounds, and the version of it that is looked at.

    Attributes:
        id: unique in the store.
        title: one line.
        created_at, updated_at: seconds since the epoch.
        round_count: rounds from the first to the head.
        head_id: the last round of the path that is looked at; None if there is no round yet.
        is_replying: whether a reply in it was being written when it was read.
        model: name of the model that replied in the head.
        pinned: stands above the others in the list.
        archived: stands in a list of its own.
        tags: the user's words about it, each once.
    """

    id: int
    title: str
    created_at: float
    updated_at: float
    round_count: int = 0
    head_id: int | None = None
    is_replying: bool = field(default=False, compare=False)
    model: str = field(default="", compare=False)
    pinned: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()


FullConversation: TypeAlias = tuple[Conversation, Sequence[Round], Mapping[int, Sequence[Piece]]]
"""A conversation, all its rounds, a parent before its children, and their pieces by round id."""


def path_to(by_id: Mapping[int, Round], end: int | None) -> tuple[Round, ...]:
    """The rounds from the first to ``end``."""
    path: list[Round] = []
    while end is not None:
        path.append(by_id[end])
        end = by_id[end].parent_id
    return tuple(reversed(path))


def title_from_query(query: str, cells: int = TITLE_CELLS) -> str:
    """The start of a query as a title: one line of printable text, at most ``cells`` wide.

    "" if the query has nothing printable.
    """
    # A megabyte may be pasted, and only its start is looked at.
    return fit_cells(one_line(query.lstrip()[:1000], None, drop_unsafe=True), cells)


def conversation_title(title: str, first_query: str) -> str:
    """Return ``title`` as one printable line; a blank one becomes the start of the first query."""
    line = one_line(title, None, drop_unsafe=True)
    return line or title_from_query(first_query) or say("conversation.untitled")
