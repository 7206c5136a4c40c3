"""What a row of the database holds as a value; what is damaged in it is left out.

SQLite's text is UTF-8, which has no lone surrogates, and its functions end at a NUL. Those
characters, and the escape character itself, are stored as DLE (U+0010, "data link escape") and
four hexadecimal digits. All other text is stored as it is, so that LIKE, the search index and other
programs read it.
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
from typing import Any, get_type_hints

import msgspec

from chatui.conversation.rounds import Conversation, Count, Epoch, Piece, RenderedPrompt, Round

_UNSTORABLE = re.compile("[\x00\x10\ud800-\udfff]")
_ESCAPE = re.compile("\x10([0-9a-f]{4})")
_UNREADABLE = object()
_ERRORS = (ValueError, TypeError, RecursionError, zlib.error, msgspec.ValidationError)
"""What a damaged value raises where it is read; a lone surrogate in it too."""

logger = logging.getLogger(__name__)


def encode_text(text: str) -> str:
    """``text`` without NUL and lone surrogates; :func:`decode_text` gives it back exactly."""
    if not _UNSTORABLE.search(text):
        return text
    return _UNSTORABLE.sub(lambda match: f"\x10{ord(match[0]):04x}", text)


def decode_text(stored: Any) -> str:
    """The text that :func:`encode_text` was given; bytes and numbers in its place become text."""
    text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else str(stored)
    if "\x10" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def encode_tags(tags: Iterable[str]) -> str:
    """Tags as a column has them: a line break before and behind each."""
    return encode_text("".join(f"\n{tag}" for tag in tags) + "\n" if tags else "")


_TEXT = (encode_text, decode_text)
FORMS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "query": _TEXT,
    "reply": _TEXT,
    "model": _TEXT,
    "format": _TEXT,
    "error": _TEXT,
    "note": _TEXT,
    "seed": (str, int),
    "sampling": (lambda sampling: json.dumps(dict(sampling)) if sampling else "{}", json.loads),
}
"""Columns of a round that are stored in another form: (to the form, back)."""

_INSTEAD = {"query": "", "state": "interrupted", "conversation_id": 0, "parent_id": None}
"""What stands in for a damaged column of a round that has no default, or another one."""


def decode_round(values: dict[str, Any]) -> Round:
    """A row as a round; :attr:`Round.damaged` names the columns that were left out."""
    for name, (_, back) in FORMS.items():
        if values[name] is not None:
            try:
                values[name] = back(values[name])
            except _ERRORS:
                values[name] = _UNREADABLE
    try:
        found = msgspec.convert(values, Round)
    except _ERRORS:
        found = _mended(values)
    if found.parent_id is not None and found.parent_id >= found.id:
        found = replace(found, parent_id=None, damaged=(*found.damaged, "parent_id"))
    return found


def _mended(values: Mapping[str, Any]) -> Round:
    sound, damaged = {}, []
    for name, value in values.items():
        try:
            sound[name] = msgspec.convert(value, _kinds()[name])
        except _ERRORS:
            damaged.append(name)
            if name in _INSTEAD:
                sound[name] = _INSTEAD[name]
    _log_once(values["id"], ", ".join(damaged))
    return Round(**sound, damaged=tuple(damaged))


@cache
def _kinds() -> dict[str, Any]:
    return get_type_hints(Round, include_extras=True)


@lru_cache(1000)
def _log_once(round_id: int, names: str) -> None:
    logger.warning("round %s: damaged in the database: %s", round_id, names)


def decode_conversation(row: Iterable[Any]) -> Conversation:
    """A row with the fields of a conversation, in their order; what is damaged gets its default."""
    values = dict(zip(_CONVERSATION, row, strict=True))
    values["title"], values["model"] = decode_text(values["title"]), decode_text(values["model"])
    values["tags"] = tuple(decode_text(values["tags"]).split())
    for name in ("is_replying", "pinned", "archived"):
        values[name] = values[name] not in (0, None)
    for name, kind in (("created_at", Epoch), ("updated_at", Epoch), ("round_count", Count)):
        with suppress(*_ERRORS):
            values[name] = msgspec.convert(values[name], kind)
            continue
        values[name] = 0
    return Conversation(**values)


_CONVERSATION = [each.name for each in fields(Conversation)]


def encode_pieces(pieces: Iterable[Piece]) -> str:
    """A batch of pieces as a column has them; "" for none."""
    values = [
        [round(p.at_seconds, 6), encode_text(p.text), p.token_id, p.logprob]
        + [[[id_, encode_text(token), round(share, 6)] for id_, token, share in p.alternatives]]
        * bool(p.alternatives)
        for p in pieces
    ]
    return msgspec.json.encode(values).decode() if values else ""


def decode_pieces(data: Any) -> list[Piece]:
    """The pieces of a batch; those that cannot be read are left out."""
    try:
        found = json.loads(data)
        rows = found if isinstance(found, list) else []
    except _ERRORS:
        rows = []
    made = []
    for row in rows:
        try:
            at, text, token_id, logprob, *rest = row
            best = tuple((id_, decode_text(token), share) for id_, token, share in (*rest, ())[0])
            made.append(Piece(at, decode_text(text), token_id, logprob, best))
        except _ERRORS:
            continue
    return made


def encode_prompt(prompt: RenderedPrompt) -> bytes:
    """What a model read, as a column has it."""
    return zlib.compress(json.dumps(asdict(prompt), separators=(",", ":")).encode())


def decode_prompt(data: Any) -> RenderedPrompt | None:
    """What a model read; None if it is damaged."""
    try:
        # msgspec's own decoder refuses lone surrogates.
        return msgspec.convert(json.loads(zlib.decompress(data)), RenderedPrompt)
    except _ERRORS:
        return None
