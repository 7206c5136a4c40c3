"""Read Open WebUI's export: ``history.messages`` maps ids to messages with ``parentId``."""

from __future__ import annotations

import re
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

_THOUGHTS = re.compile(
    r'\s*<details type="reasoning"[^>]*>\s*(?:<summary>.*?</summary>)?(.*?)</details>\s*', re.DOTALL
)
_QUOTE_MARK = re.compile(r"^> ?", re.MULTILINE)


def read_open_webui(record: Mapping[str, Any]) -> Transcript | None:
    """Read the conversation in a record; None for records of other programs.

    Raises:
        InvalidRecord: it has no messages.
    """
    chat = record.get("chat")
    if not isinstance(chat, dict):
        chat = record
    history = chat.get("history")
    if not isinstance(history, dict):
        return None
    found = history.get("messages")
    if not isinstance(found, dict):
        raise InvalidRecord(say("import.no_tree", name="history.messages"))
    return parse_conversation(
        ((id, optional_id(message, "parentId"), message) for id, message in found.items()),
        partial(parse_message, reply_of=_reply),
        title=text_or_none(record.get("title")) or text_or_none(chat.get("title")) or "",
        created_at=epoch_seconds(record.get("created_at")) or epoch_seconds(chat.get("timestamp")),
        updated_at=epoch_seconds(record.get("updated_at")),
        current=text_or_none(history.get("currentId")),
    )


def _reply(message: Mapping[str, Any], text: str) -> str:
    """Convert reasoning in an HTML element to <think> tags."""
    found = _THOUGHTS.match(text)
    if found is None:
        return text
    return with_thoughts(_QUOTE_MARK.sub("", found[1]), text[found.end() :])
