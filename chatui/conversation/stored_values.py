"""Convert values to database columns and back; damaged columns are skipped.

SQLite's text is UTF-8, which cannot hold lone surrogates, and its functions stop at a NUL. These
characters, and the escape character itself, are stored as DLE (U+0010, "data link escape") and
four hexadecimal digits. Other text is stored unchanged, so that LIKE, the search index and other
programs can read it.
"""

from __future__ import annotations

import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any, get_type_hints

import msgspec

from chatui.conversation.rounds import Conversation, Count, Epoch, Piece, RenderedPrompt, Round

_UNSTORABLE = re.compile("[\x00\x10\ud800-\udfff]")
_ESCAPE = re.compile("\x10([0-9a-f]{4})")
_UNREADABLE = object()
_ERRORS = (ValueError, TypeError, RecursionError, zlib.error, msgspec.ValidationError)
"""The exceptions that decoding a damaged value raises."""

logger = logging.getLogger(__name__)


def encode_text(text: str) -> str:
    """Escape NUL and lone surrogates in ``text``; :func:`decode_text` reverses it."""
    if not _UNSTORABLE.search(text):
        return text
    return _UNSTORABLE.sub(lambda match: f"\x10{ord(match[0]):04x}", text)


def decode_text(stored: Any) -> str:
    """Reverse :func:`encode_text`; bytes and numbers in a damaged column become text."""
    text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
    if "\x10" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def encode_tags(tags: Iterable[str]) -> str:
    """Join tags into a column, with a line break before and after each."""
    return encode_text("".join(f"\n{tag}" for tag in tags) + "\n" if tags else "")


_TEXT = (encode_text, decode_text)
_CODECS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "query": _TEXT,
    "reply": _TEXT,
    "model": _TEXT,
    "format": _TEXT,
    "error": _TEXT,
    "note": _TEXT,
    "seed": (str, int),
    "sampling": (lambda sampling: json.dumps(dict(sampling)) if sampling else "{}", json.loads),
}
"""The columns of a round that are not stored as they are: (encode, decode)."""

_FALLBACKS = {"query": "", "state": "interrupted", "conversation_id": 0, "parent_id": None}
"""Values for damaged columns of a round, in place of a missing or unsuitable default."""

ROUND_KEYS = ("id", "conversation_id", "parent_id", "corrects_id")
_NOT_STORED = ("version", "versions", "damaged")
ROUND_COLUMNS = [
    each.name for each in fields(Round) if each.name not in (*ROUND_KEYS, *_NOT_STORED)
]
_ROUND = (*ROUND_KEYS, *ROUND_COLUMNS, "version", "versions")
_ENCODERS = [(ROUND_COLUMNS.index(name), encode) for name, (encode, _) in _CODECS.items()]
_get_columns = attrgetter(*ROUND_COLUMNS)


def encode_round(round_: Round) -> list[Any]:
    """Convert a round to its columns :data:`ROUND_COLUMNS`."""
    values = list(_get_columns(round_))
    for index, encode in _ENCODERS:
        if values[index] is not None:
            values[index] = encode(values[index])
    return values


def decode_round(row: Iterable[Any]) -> Round:
    """Convert a row to a round; :attr:`Round.damaged` names the columns that were skipped.

    Args:
        row: :data:`ROUND_KEYS`, :data:`ROUND_COLUMNS`, version and count of versions.
    """
    values = dict(zip(_ROUND, row, strict=True))
    for name, (_, decode) in _CODECS.items():
        if values[name] is not None:
            try:
                values[name] = decode(values[name])
            except _ERRORS:
                values[name] = _UNREADABLE
    try:
        found = msgspec.convert(values, Round)
    except _ERRORS:
        found = _without_damaged(values)
    if found.parent_id is not None and found.parent_id >= found.id:
        found = replace(found, parent_id=None, damaged=(*found.damaged, "parent_id"))
    return found


def _without_damaged(values: Mapping[str, Any]) -> Round:
    sound, damaged = {}, []
    for name, value in values.items():
        try:
            sound[name] = msgspec.convert(value, _types()[name])
        except _ERRORS:
            damaged.append(name)
            if name in _FALLBACKS:
                sound[name] = _FALLBACKS[name]
    _log_once(values["id"], ", ".join(damaged))
    return Round(**sound, damaged=tuple(damaged))


@cache
def _types() -> dict[str, Any]:
    return get_type_hints(Round, include_extras=True)


@lru_cache(1000)
def _log_once(round_id: int, names: str) -> None:
    logger.warning("round %s: damaged in the database: %s", round_id, names)


def decode_conversation(row: Iterable[Any]) -> Conversation:
    """Convert a row to a conversation; damaged columns get a default.

    Args:
        row: the fields of a conversation, in their order.
    """
    values = dict(zip(_CONVERSATION, row, strict=True))
    values["title"], values["model"] = decode_text(values["title"]), decode_text(values["model"])
    values["tags"] = tuple(decode_text(values["tags"]).split())
    for name in ("is_replying", "pinned", "archived"):
        values[name] = values[name] not in (0, None)
    for name, type_ in (("created_at", Epoch), ("updated_at", Epoch), ("round_count", Count)):
        try:
            values[name] = msgspec.convert(values[name], type_)
        except _ERRORS:
            values[name] = 0
    return Conversation(**values)


_CONVERSATION = [each.name for each in fields(Conversation)]


def encode_pieces(pieces: Iterable[Piece]) -> str:
    """Convert a batch of pieces to a column; no pieces give ""."""
    values = [
        [round(p.at_seconds, 6), encode_text(p.text), p.token_id, p.logprob]
        + [[[id_, encode_text(token), round(share, 6)] for id_, token, share in p.alternatives]]
        * bool(p.alternatives)
        for p in pieces
    ]
    return msgspec.json.encode(values).decode() if values else ""


def decode_pieces(data: Any) -> list[Piece]:
    """Convert a column to a batch of pieces; damaged pieces are skipped."""
    try:
        found = json.loads(data)
        rows = found if isinstance(found, list) else []
    except _ERRORS:
        rows = []
    pieces = []
    for row in rows:
        with suppress(*_ERRORS):
            at, text, token_id, logprob, *rest = row
            best = tuple((id_, decode_text(token), share) for id_, token, share in (*rest, ())[0])
            pieces.append(Piece(at, decode_text(text), token_id, logprob, best))
    return pieces


def encode_prompt(prompt: RenderedPrompt) -> bytes:
    """Convert a prompt to a column: JSON compressed by zlib."""
    return zlib.compress(json.dumps(asdict(prompt), separators=(",", ":")).encode())


def decode_prompt(data: Any) -> RenderedPrompt | None:
    """Convert a column to a prompt; None if it is damaged."""
    try:
        # msgspec's JSON decoder refuses lone surrogates.
        return msgspec.convert(json.loads(zlib.decompress(data)), RenderedPrompt)
    except _ERRORS:
        return None
