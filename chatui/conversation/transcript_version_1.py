"""Convert transcripts of version 1, a single JSON object, to the lines of version 2.

::

    {"format": "chatui-transcript", "version": 1,
     "conversation": {"title": …, "created_at": …, "updated_at": …, "head": 3},
     "rounds": [{"id": 1, "parent": null, "query": …, "reply": …, "state": "done", …,
                 "pieces": [[at_seconds, text, token_id, logprob], …]}, …]}

A parent stands before its children.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from chatui.conversation.rounds import Epoch, Seconds
from chatui.conversation.transcript_events import VERSION


class _Conversation(msgspec.Struct):
    title: str
    created_at: Epoch
    updated_at: Epoch
    head: int | None


class _Round(msgspec.Struct):
    """The keys of a round that are not those of an event."""

    id: int
    query: str
    finish_reason: str | None = None
    prompt_tokens: int = 0
    reused_tokens: int = 0
    started_at: Epoch = 0.0
    seconds: Seconds = 0.0
    state: str = "streaming"
    pieces: list[tuple[Seconds, str, int, float | None]] = []


def lines_from_version_1(file: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the header and the events; the other keys of a round are those of its events.

    Raises:
        msgspec.ValidationError, UnicodeError: a value is missing or has a wrong type.
    """
    about = msgspec.convert(file.get("conversation"), _Conversation)
    start = about.created_at
    yield {**file, **msgspec.structs.asdict(about), "version": VERSION, "start": start}
    for raw in msgspec.convert(file.get("rounds"), list[dict[str, Any]]):
        each = msgspec.convert(raw, _Round)
        began = each.started_at - start
        event = {**raw, "round": each.id, "t": began}
        yield {**event, "type": "query", "text": each.query}
        tokens = {"tokens": each.prompt_tokens, "reused": each.reused_tokens}
        yield {**event, "type": "prompt", **tokens}
        for at, text, id, logprob in each.pieces:
            token = {"text": text, "id": id, "logprob": logprob}
            yield {"type": "token", "round": each.id, "t": began + at, **token}
        if each.state != "streaming":
            end = {"t": began + each.seconds, "reason": each.finish_reason}
            yield {**event, "type": "stop", **end}
    if about.head is not None:
        yield {"type": "branch", "round": about.head, "t": about.updated_at - start}
