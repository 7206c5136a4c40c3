"""Read LM Studio's files: a list of messages, each with ``versions`` and the selected one's index.

A version is ``{"type": "singleStep", "role", "content": [{"type": "text", "text"}]}``, or
``"multiStep"`` with ``steps``; steps of the type ``contentBlock`` have a ``content``. The next
message follows the selected version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chatui.conversation.dialogues import InvalidRecord
from chatui.conversation.imports.message_tree import (
    ImportedMessage,
    RawMessage,
    epoch_seconds,
    parse_conversation,
    parse_speaker,
    text_or_none,
    with_thoughts,
)
from chatui.conversation.rounds import Transcript
from chatui.locales import say


def read_lm_studio(record: Mapping[str, Any]) -> Transcript | None:
    """Read the conversation in a record; None for records of other programs.

    Raises:
        InvalidRecord: it has no messages.
    """
    messages = record.get("messages")
    if not isinstance(messages, list) or not any(
        isinstance(each, dict) and "versions" in each for each in messages
    ):
        return None
    unread = 0
    nodes: list[RawMessage] = []
    parent: str | None = None
    for place, message in enumerate(messages):
        versions = message.get("versions") if isinstance(message, dict) else None
        if not isinstance(versions, list) or not versions:
            unread += 1
            continue
        selected = message.get("currentlySelected")
        is_place = isinstance(selected, int) and 0 <= selected < len(versions)
        nodes += [(f"{place}.{number}", parent, version) for number, version in enumerate(versions)]
        parent = f"{place}.{selected if is_place else 0}"
    return parse_conversation(
        nodes,
        _message,
        title=text_or_none(record.get("name")) or "",
        created_at=epoch_seconds(record.get("createdAt")),
        current=parent,
        unread=unread,
    )


def _message(id: str, parent: str | None, version: Mapping[str, Any]) -> ImportedMessage:
    role = parse_speaker(version["role"])
    if role is None:
        return ImportedMessage(id, parent, None)
    steps = version.get("steps", [version]) if version.get("type") == "multiStep" else [version]
    thoughts: list[str] = []
    said: list[str] = []
    for step in steps:
        if step.get("type") not in ("contentBlock", "singleStep"):
            continue
        text = "".join(
            part["text"] for part in step["content"] if isinstance(part.get("text"), str)
        )
        style = step.get("style")
        is_thought = isinstance(style, dict) and style.get("type") == "thinking"
        (thoughts if is_thought else said).append(text)
    if not said and not thoughts:
        raise InvalidRecord(say("import.no_messages"))
    sender = version.get("senderInfo")
    model = sender.get("senderName") if isinstance(sender, dict) else None
    text = with_thoughts("\n\n".join(thoughts), "\n\n".join(said))
    return ImportedMessage(id, parent, role, text, model=text_or_none(model) or "")
