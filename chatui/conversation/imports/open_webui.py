"""Open WebUI's export: chats whose ``history.messages`` maps ids to messages with ``parentId``."""

from __future__ import annotations

import re
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

_THOUGHTS = re.compile(
    r'\s*<details type="reasoning"[^>]*>\s*(?:<summary>.*?</summary>)?(.*?)</details>\s*', re.DOTALL
)
_QUOTED = re.compile(r"^> ?", re.MULTILINE)


def is_open_webui(record: Mapping[str, Any]) -> bool:
    """Whether a record is a chat of Open WebUI."""
    return isinstance(_chat(record).get("history"), dict)


def read_open_webui(record: Mapping[str, Any]) -> ReadTree:
    """The conversation in a record.

    Raises:
        WrongRecord: it has no messages.
    """
    chat = _chat(record)
    history = chat["history"]
    found = history.get("messages")
    if not isinstance(found, dict):
        raise WrongRecord(say("import.no_tree", name="history.messages"))
    unread = 0
    messages = []
    for id, message in found.items():
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            unread += 1
            parent = message.get("parentId") if isinstance(message, dict) else None
            messages.append(ImportedMessage(id, text_or_none(parent), None))
            continue
        role = speaker_of(message.get("role"))
        messages.append(
            ImportedMessage(
                id,
                text_or_none(message.get("parentId")),
                role,
                _reply(message["content"]) if role == "assistant" else message["content"],
                moment(message.get("timestamp")),
                text_or_none(message.get("model")) or "",
            )
        )
    return rounds_of_messages(
        messages,
        title=text_or_none(record.get("title")) or text_or_none(chat.get("title")) or "",
        created_at=moment(record.get("created_at")) or moment(chat.get("timestamp")),
        updated_at=moment(record.get("updated_at")),
        current=text_or_none(history.get("currentId")),
        unread=unread,
    )


def _chat(record: Mapping[str, Any]) -> Mapping[str, Any]:
    chat = record.get("chat")
    return chat if isinstance(chat, dict) else record


def _reply(text: str) -> str:
    """A reply whose thoughts stand in an HTML element, with chatui's own marks."""
    found = _THOUGHTS.match(text)
    if found is None:
        return text
    return with_thoughts(_QUOTED.sub("", found[1]), text[found.end() :])
