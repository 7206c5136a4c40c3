"""Between values and the rows of the database."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any, cast

from chatui.conversation.rounds import Conversation, Piece, Round, State
from chatui.conversation.storable import from_stored, to_stored

ROUND_COLUMNS = (
    "id, conversation_id, parent_id, query, reply, state, model, format, finish_reason, seed,"
    " sampling, prompt_tokens, reused_tokens, output_tokens, started_at, seconds, error"
)


def round_of(row: sqlite3.Row | tuple[Any, ...]) -> Round:
    """A row of :data:`ROUND_COLUMNS` as a round."""
    (id_, conversation_id, parent_id, query, reply, state, model, format_, *rest) = row
    finish_reason, seed, sampling, prompt, reused, output, started_at, seconds, error = rest
    return Round(
        id=id_,
        conversation_id=conversation_id,
        parent_id=parent_id,
        query=from_stored(query),
        reply=from_stored(reply),
        state=cast(State, state),
        model=from_stored(model),
        format=from_stored(format_),
        finish_reason=finish_reason,
        seed=None if seed is None else int(seed),
        sampling=json.loads(sampling),
        prompt_tokens=prompt,
        reused_tokens=reused,
        output_tokens=output,
        started_at=started_at,
        seconds=seconds,
        error=None if error is None else from_stored(error),
    )


def conversation_of(row: sqlite3.Row | tuple[Any, ...]) -> Conversation:
    """(id, title, created_at, updated_at, round_count, head_id) as a conversation."""
    id_, title, created_at, updated_at, round_count, head_id = row
    return Conversation(id_, from_stored(title), created_at, updated_at, round_count, head_id)


def sampling_to_stored(sampling: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(sampling or {}))


def pieces_to_stored(pieces: Iterable[Piece]) -> str:
    """A batch of pieces: a JSON list of [at_seconds, text, token_id, logprob]."""
    return json.dumps(
        [[round(p.at_seconds, 6), to_stored(p.text), p.token_id, p.logprob] for p in pieces],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def pieces_from_stored(data: str) -> list[Piece]:
    """The pieces of a batch."""
    return [
        Piece(at, from_stored(text), id_, logprob) for at, text, id_, logprob in json.loads(data)
    ]
