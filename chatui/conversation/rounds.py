"""The values of a conversation: pieces, rounds, prompts and the conversation itself."""

from __future__ import annotations

import hashlib
import marshal
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from tempfile import SpooledTemporaryFile
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from chatui.locales import say
from chatui.text import fit_cells, one_line

RoundState: TypeAlias = Literal["streaming", "done", "stopped", "failed", "interrupted"]
"""A round is being written, was ended by the model, stopped by the user, ended by an error, or cut
off when its process died."""

Rating: TypeAlias = Literal[-1, 0, 1]
"""The user's rating of a reply: bad, none, good."""

# The limits are checked when values are read from files.
MAX_EPOCH, MAX_SECONDS = 1e12, 1e7
Epoch: TypeAlias = Annotated[float, msgspec.Meta(ge=-MAX_EPOCH, le=MAX_EPOCH)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=MAX_SECONDS)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

_TITLE_CELLS = 30
_MOST_BYTES_IN_MEMORY = 1 << 24


class Piece(msgspec.Struct, frozen=True):
    """One streamed token.

    Attributes:
        at_seconds: seconds from the round's start to its arrival.
        text: the text it added to the reply.
        token_id: -1 if the backend does not report it.
        logprob: natural logarithm of its probability; None if unknown.
        alternatives: the most probable tokens at its position, as (id, piece, probability); empty
            if not requested.
    """

    at_seconds: float
    text: str
    token_id: int = -1
    logprob: float | None = None
    alternatives: tuple[tuple[int, str, float], ...] = ()


class PackedPieces(Mapping[int, tuple[Piece, ...]]):
    """Pieces by round id, kept encoded; more than 16 MiB of them are moved to a temporary file."""

    def __init__(self) -> None:
        self._places: dict[int, tuple[int, int]] = {}
        self._file = SpooledTemporaryFile(_MOST_BYTES_IN_MEMORY)  # noqa: SIM115  # closed with this

    def __setitem__(self, round_id: int, pieces: Iterable[Piece]) -> None:
        # Unlike JSON encoders, marshal accepts lone surrogates.
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
        reply: the reply's text; while streaming, the part saved so far.
        state: see :data:`RoundState`.
        model: name of the model that replied.
        format: name of the prompt format.
        finish_reason: as in ``messages.Done``; None if the model did not end the reply.
        seed: the random seed, with which the reply can be repeated; None if unknown.
        sampling: the reply's settings by the names of ``SamplingSettings``; also "think" if the
            user switched thinking on or off, and "edited" if the user edited the reply. A reply
            that continues another one has "begun_pieces", the number of pieces taken from it, and
            "next_id" if the user chose the token after them.
        prompt_tokens, reused_tokens, output_tokens: counts; ``reused_tokens`` of the prompt came
            from the KV cache.
        started_at: seconds since the epoch.
        seconds: duration from start to end.
        error: the error message of a failed round; otherwise None.
        rating, note: the user's rating of the reply and note on it.
        corrects_id: the round that this one, written by the user, corrects; None if the model
            wrote it.
        version, versions: its number among the rounds with the same parent, from 1, and their
            count, at the time it was read.
        damaged: names of columns that could not be read from the store and were skipped.
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
    """The prompt that the model read for a round.

    Attributes:
        text: the rendered prompt.
        input_ids, tokens: the prompt as token ids and as pieces; empty if the backend did not
            report them.
        position_ids: rows of positions, two for ChatGLM-6B; empty if they are 0, 1, 2, ….
        dropped_rounds: number of oldest rounds left out because they did not fit.
        context_limit: maximum tokens of prompt and reply together; 0 if unknown.
        memory_bytes: memory of the engine's process at that time; 0 if unknown.
    """

    text: str
    input_ids: tuple[int, ...] = ()
    tokens: tuple[str, ...] = ()
    position_ids: tuple[tuple[int, ...], ...] = ()
    dropped_rounds: int = 0
    context_limit: int = 0
    memory_bytes: int = 0

    def mark(self) -> PromptMark:
        """Return the hash of the text."""
        digest = hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()
        return PromptMark(f"sha256:{digest}", self.dropped_rounds)


@dataclass(frozen=True)
class PromptMark:
    """The hash of a prompt.

    Attributes:
        hash: "sha256:" and the digest of the prompt's text in UTF-8; "" if not known.
        dropped_rounds: number of the oldest rounds left out because they did not fit.
    """

    hash: str = ""
    dropped_rounds: Count = 0


@dataclass(frozen=True)
class Conversation:
    """A tree of rounds; the path to its head is the one shown.

    Attributes:
        id: unique in the store.
        title: one line.
        created_at, updated_at: seconds since the epoch.
        round_count: rounds from the first to the head; 0 if it was not read from the store.
        head_id: the last round of the path that is shown; None if there is no round.
        is_replying: True if a reply in it was being written when it was read.
        model: name of the model that replied in the head.
        pinned: True if it is listed above the others.
        archived: True if it is listed in the archive.
        tags: the user's tags, each once.
    """

    id: int
    title: str
    created_at: float
    updated_at: float
    round_count: int = field(default=0, compare=False)
    head_id: int | None = None
    is_replying: bool = field(default=False, compare=False)
    model: str = field(default="", compare=False)
    pinned: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """A whole conversation.

    Attributes:
        conversation: its ``head_id`` is one of ``rounds``, or None.
        rounds: all versions, a parent before its children.
        pieces: by round id; a round may have none.
        prompts: hashes of the prompts, by round id.
        others: events of a transcript file that do not describe rounds: models and unknown types.
        unread_messages: number of messages that could not be read, if another program wrote it.
    """

    conversation: Conversation
    rounds: tuple[Round, ...]
    pieces: Mapping[int, tuple[Piece, ...]] = field(default_factory=dict)
    prompts: Mapping[int, PromptMark] = field(default_factory=dict)
    others: tuple[Mapping[str, Any], ...] = ()
    unread_messages: int = 0

    def path(self) -> tuple[Round, ...]:
        """Return the rounds from the first to the head."""
        return path_to({each.id: each for each in self.rounds}, self.conversation.head_id)


def interrupted(round_: Round, pieces: Sequence[Piece]) -> Round:
    """Return a streaming round as it ends if its process dies, with the pieces saved of it."""
    reply = "".join(piece.text for piece in pieces)
    seconds = pieces[-1].at_seconds if pieces else 0.0
    known: dict[str, Any] = {"reply": reply, "output_tokens": len(pieces), "seconds": seconds}
    return replace(round_, state="interrupted", **known)


def path_to(by_id: Mapping[int, Round], end: int | None) -> tuple[Round, ...]:
    """Return the rounds from the first to ``end``."""
    path: list[Round] = []
    while end is not None:
        path.append(by_id[end])
        end = by_id[end].parent_id
    return tuple(reversed(path))


def title_from_query(query: str) -> str:
    """Return the start of a query as one printable line, at most 30 terminal cells wide.

    A query without printable text gives "".
    """
    # A query may be a pasted megabyte; its start is enough.
    return fit_cells(one_line(query.lstrip()[:1000], None, drop_unsafe=True), _TITLE_CELLS)


def conversation_title(title: str, first_query: str) -> str:
    """Return ``title`` as one printable line; a blank one becomes the start of the first query."""
    line = one_line(title, None, drop_unsafe=True)
    return line or title_from_query(first_query) or say("conversation.untitled")
