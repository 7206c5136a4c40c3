"""Read exports of llama.cpp's web page: ``{"conv", "messages"}``, or an array of these.

``conv`` has ``name``, ``lastModified`` (milliseconds) and ``currNode``; a message has ``id``,
``parent``, ``role``, ``content``, ``timestamp``, and in later versions ``model`` and its reasoning.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from chatui.conversation.dialogues import InvalidRecord
from chatui.conversation.imports.message_tree import (
    epoch_seconds,
    optional_id,
    parse_conversation,
    parse_message,
    text_or_none,
    with_thoughts,
)
from chatui.conversation.rounds import Transcript
from chatui.locales import say

_REASONING_KEYS = ("reasoningContent", "reasoning_content", "thinking")


def read_llama_page(record: Mapping[str, Any]) -> Transcript | None:
    """Read the conversation in a record; None for records of other programs.

    Raises:
        InvalidRecord: it has no messages.
    """
    about, found = record.get("conv"), record.get("messages")
    if not isinstance(about, dict) or "messages" not in record:
        return None
    if not isinstance(found, list):
        raise InvalidRecord(say("import.no_tree", name="messages"))
    nodes = [
        (optional_id(message, "id"), optional_id(message, "parent"), message) for message in found
    ]
    known = [(id, parent, message) for id, parent, message in nodes if id is not None]
    return parse_conversation(
        known,
        partial(parse_message, reply_of=_reply),
        title=text_or_none(about.get("name")) or "",
        updated_at=epoch_seconds(about.get("lastModified")),
        current=text_or_none(about.get("currNode")),
        unread=len(nodes) - len(known),
    )


def _reply(message: Mapping[str, Any], text: str) -> str:
    return with_thoughts(next(filter(None, map(message.get, _REASONING_KEYS)), None), text)
