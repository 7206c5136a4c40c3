"""The web page of llama.cpp's server: ``{"conv", "messages"}``, or an array of those.

``conv`` has ``name``, ``lastModified`` (milliseconds) and ``currNode``; a message has ``id``,
``parent``, ``role``, ``content``, ``timestamp``, and in later versions ``model`` and its thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatui.conversation.dialogues import WrongRecord
from chatui.conversation.imports.message_tree import (
    ImportedMessage,
    ReadTree,
    moment,
    rounds_of_messages,
    speaker_of,
    text_or_none,
    with_thoughts,
)
from chatui.locales import say

_THOUGHTS = ("reasoningContent", "reasoning_content", "thinking")


def is_llama_page(record: Mapping[str, Any]) -> bool:
    """Whether a record is a conversation of llama.cpp's page."""
    return isinstance(record.get("conv"), dict) and "messages" in record


def read_llama_page(record: Mapping[str, Any]) -> ReadTree:
    """The conversation in a record.

    Raises:
        WrongRecord: it has no messages.
    """
    about, found = record["conv"], record["messages"]
    if not isinstance(found, list):
        raise WrongRecord(say("import.no_tree", name="messages"))
    unread = 0
    messages = []
    for message in found:
        id = text_or_none(message.get("id")) if isinstance(message, dict) else None
        if id is None:
            unread += 1
            continue
        parent = text_or_none(message.get("parent"))
        role, content = speaker_of(message.get("role")), message.get("content")
        if message.get("type") == "root" or role is None:
            messages.append(ImportedMessage(id, parent, None))
            continue
        if not isinstance(content, str):
            unread += 1
            content = ""
        if role == "assistant":
            content = with_thoughts(next(filter(None, map(message.get, _THOUGHTS)), None), content)
        at = moment(message.get("timestamp"))
        model = text_or_none(message.get("model")) or ""
        messages.append(ImportedMessage(id, parent, role, content, at, model))
    return rounds_of_messages(
        messages,
        title=text_or_none(about.get("name")) or "",
        updated_at=moment(about.get("lastModified")),
        current=text_or_none(about.get("currNode")),
        unread=unread,
    )
