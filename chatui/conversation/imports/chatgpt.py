"""Read ChatGPT's export ``conversations.json``: an array of conversations with message trees.

A conversation has ``title``, ``create_time``, ``update_time``, ``current_node`` and ``mapping``,
from ids to ``{"message", "parent", "children"}``; a message has ``author.role``, ``create_time``,
``content`` (``content_type`` and ``parts`` or ``text``) and ``metadata.model_slug``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatui.conversation.dialogues import InvalidRecord
from chatui.conversation.imports.message_tree import (
    ImportedMessage,
    epoch_seconds,
    optional_id,
    parse_conversation,
    text_or_none,
    with_thoughts,
)
from chatui.conversation.rounds import Transcript
from chatui.locales import say

_SPEAKERS = ("user", "assistant", "tool")
_SKIPPED_TYPES = ("reasoning_recap", "user_editable_context", "model_editable_context")


def read_chatgpt(record: Mapping[str, Any]) -> Transcript | None:
    """Read the conversation in a record; None for records of other programs.

    Raises:
        InvalidRecord: it has no messages.
    """
    if "mapping" not in record:
        return None
    mapping = record["mapping"]
    if not isinstance(mapping, dict):
        raise InvalidRecord(say("import.no_tree", name="mapping"))
    return parse_conversation(
        ((id, optional_id(node, "parent"), node) for id, node in mapping.items()),
        _message,
        title=text_or_none(record.get("title")) or "",
        created_at=epoch_seconds(record.get("create_time")),
        updated_at=epoch_seconds(record.get("update_time")),
        current=text_or_none(record.get("current_node")),
    )


def _message(id: str, parent: str | None, node: Any) -> ImportedMessage:
    message = node.get("message")
    if message is None:
        return ImportedMessage(id, parent, None)
    metadata = message.get("metadata") or {}
    role = message["author"]["role"] if "author" in message else None
    content = message.get("content") or {}
    if metadata.get("is_visually_hidden_from_conversation") or role not in _SPEAKERS:
        return ImportedMessage(id, parent, None)
    is_output = content.get("content_type") == "execution_output"
    if role == "tool" and not is_output:
        return ImportedMessage(id, parent, None)
    return ImportedMessage(
        id,
        parent,
        "user" if role == "user" else "assistant",
        _text(content),
        epoch_seconds(message.get("create_time")),
        text_or_none(metadata.get("model_slug")) or "",
    )


def _text(content: Mapping[str, Any]) -> str:
    kind = content.get("content_type")
    if kind in _SKIPPED_TYPES:
        return ""
    if kind == "thoughts":
        thoughts = [each.get("content") or each.get("summary") for each in content["thoughts"]]
        texts = (each for each in thoughts if isinstance(each, str))
        return with_thoughts("\n\n".join(texts), "").rstrip()
    if kind in ("code", "execution_output"):
        language = content.get("language")
        mark = language if isinstance(language, str) and language.isalnum() else ""
        return f"```{'' if mark == 'unknown' else mark}\n{content['text']}\n```"
    if "parts" in content:
        return "\n".join(filter(None, map(_part, content["parts"])))
    text = content.get("text")
    return text if isinstance(text, str) else ""


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    text = part.get("text")
    if isinstance(text, str):
        return text
    return f"[{str(part.get('content_type', '?')).partition('_')[0]}]"
