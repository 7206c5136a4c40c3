"""Read the exports of other programs; most store a conversation as a tree of messages.

ChatGPT's ``conversations.json``: ``title``, ``create_time``, ``update_time``, ``current_node`` and
``mapping``, from ids to ``{"message", "parent"}``; a message has ``author.role``, ``create_time``,
``content`` (``content_type`` and ``parts`` or ``text``) and ``metadata.model_slug``.

llama.cpp's web page: ``conv`` has ``name``, ``lastModified`` (milliseconds) and ``currNode``;
``messages`` is a list, each with ``id``, ``parent``, ``role``, ``content``, ``timestamp``, and in
later versions ``model`` and its reasoning.

LM Studio: a list ``messages``, each with ``versions`` and the selected one's index. A version is
``{"type": "singleStep", "role", "content": [{"type": "text", "text"}]}``, or ``"multiStep"`` with
``steps``; steps of the type ``contentBlock`` have a ``content``. The next message follows the
selected version.

Open WebUI: ``history.messages`` maps ids to messages with ``parentId``.

oterm's database: the tables ``chat`` (name, model) and ``message`` (author, text).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from chatui.conversation.dialogues import InvalidRecord
from chatui.conversation.imports.message_tree import (
    Said,
    parse_conversation,
    parse_speaker,
    text_of,
    with_thoughts,
)
from chatui.conversation.rounds import Transcript
from chatui.locales import say

DATABASE_MAGIC = b"SQLite format 3\0"
"""The first bytes of oterm's database."""

_TREE_KEYS = frozenset(("mapping", "messages", "history", "chat"))
"""Every record with a message tree has one of these keys."""

_OTERM_AUTHORS = {"me": "user", "ollama": "assistant"}
"""Names of speakers in older versions of oterm."""

_SKIPPED_TYPES = ("reasoning_recap", "user_editable_context", "model_editable_context")
_REASONING_KEYS = ("reasoningContent", "reasoning_content", "thinking")
_DETAILS = re.compile(
    r'\s*<details type="reasoning"[^>]*>\s*(?:<summary>.*?</summary>)?(.*?)</details>\s*', re.DOTALL
)
_QUOTE_MARK = re.compile(r"^> ?", re.MULTILINE)

Kind = TypeVar("Kind")


def read_message_tree(record: Any) -> Transcript | None:
    """Read the conversation in a JSON value; None if it is not of one of these programs.

    Raises:
        InvalidRecord: it has no messages.
    """
    if not isinstance(record, dict) or _TREE_KEYS.isdisjoint(record):
        return None
    if "mapping" in record:
        return _read_chatgpt(record)
    if isinstance(record.get("conv"), dict) and "messages" in record:
        return _read_llama_page(record)
    messages = record.get("messages")
    if isinstance(messages, list) and any(
        isinstance(each, dict) and "versions" in each for each in messages
    ):
        return _read_lm_studio(record, messages)
    chat = record.get("chat")
    chat = chat if isinstance(chat, dict) else record
    return _read_open_webui(record, chat) if isinstance(chat.get("history"), dict) else None


def _tree(holder: Mapping[str, Any], name: str, kind: type[Kind], shown: str = "") -> Kind:
    if not isinstance(found := holder.get(name), kind):
        raise InvalidRecord(say("import.no_tree", name=shown or name))
    return found


def _read_chatgpt(record: Mapping[str, Any]) -> Transcript:
    get, messages = record.get, _tree(record, "mapping", dict).items()
    about = get("title"), get("create_time"), get("update_time"), get("current_node")
    return parse_conversation(messages, "parent", _chatgpt_message, *about)


def _chatgpt_message(node: Any) -> Said | None:
    message = node.get("message")
    if message is None:
        return None
    metadata = message.get("metadata") or {}
    role = message["author"]["role"] if "author" in message else None
    content = message.get("content") or {}
    is_output = role == "tool" and content.get("content_type") == "execution_output"
    is_hidden = metadata.get("is_visually_hidden_from_conversation")
    if is_hidden or (role not in ("user", "assistant") and not is_output):
        return None
    at, model = message.get("create_time"), metadata.get("model_slug")
    return "user" if role == "user" else "assistant", _chatgpt_text(content), at, model


def _chatgpt_text(content: Mapping[str, Any]) -> str:
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
        return "\n".join(filter(None, map(_chatgpt_part, content["parts"])))
    text = content.get("text")
    return text if isinstance(text, str) else ""


def _chatgpt_part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        return ""
    text = part.get("text")
    if isinstance(text, str):
        return text
    return f"[{str(part.get('content_type', '?')).partition('_')[0]}]"


def _read_llama_page(record: Mapping[str, Any]) -> Transcript:
    messages = _tree(record, "messages", list)
    nodes = [(each.get("id"), each) for each in messages if isinstance(each, dict)]
    known = [(id, each) for id, each in nodes if text_of(id)]
    get, unread = record["conv"].get, len(messages) - len(known)
    about = get("name"), None, get("lastModified"), get("currNode"), unread
    return parse_conversation(known, "parent", _message, *about)


def _read_open_webui(record: Mapping[str, Any], chat: Mapping[str, Any]) -> Transcript:
    history = chat["history"]
    messages = _tree(history, "messages", dict, "history.messages").items()
    title = record.get("title") or chat.get("title")
    times = record.get("created_at") or chat.get("timestamp"), record.get("updated_at")
    about = title, *times, history.get("currentId")
    return parse_conversation(messages, "parentId", _message, *about)


def _message(message: Any) -> Said | None:
    """Convert a message of llama.cpp's page or Open WebUI, with its reasoning."""
    role = parse_speaker(message.get("role"))
    if message.get("type") == "root" or role is None:
        return None
    text = message["content"]
    if not isinstance(text, str):
        raise TypeError
    if role == "assistant":
        thoughts = next(filter(None, map(message.get, _REASONING_KEYS)), None)
        if found := _DETAILS.match(text):
            thoughts, text = _QUOTE_MARK.sub("", found[1]), text[found.end() :]
        text = with_thoughts(thoughts, text)
    return role, text, message.get("timestamp"), message.get("model")


def _read_lm_studio(record: Mapping[str, Any], messages: list[Any]) -> Transcript:
    unread = 0
    nodes: list[tuple[str, Any]] = []
    parent: str | None = None
    for place, message in enumerate(messages):
        versions = message.get("versions") if isinstance(message, dict) else None
        if not isinstance(versions, list) or not versions:
            unread += 1
            continue
        selected = message.get("currentlySelected")
        is_place = isinstance(selected, int) and 0 <= selected < len(versions)
        for number, version in enumerate(versions):
            nodes.append((f"{place}.{number}", {"parent": parent, "version": version}))
        parent = f"{place}.{selected if is_place else 0}"
    about = record.get("name"), record.get("createdAt"), None, parent, unread
    return parse_conversation(nodes, "parent", _lm_studio_message, *about)


def _lm_studio_message(node: Mapping[str, Any]) -> Said | None:
    version = node["version"]
    role = parse_speaker(version["role"])
    if role is None:
        return None
    is_several = version.get("type") == "multiStep"
    parts: dict[bool, list[str]] = {True: [], False: []}
    for step in version.get("steps", [version]) if is_several else [version]:
        if step.get("type") in ("contentBlock", "singleStep"):
            style = step.get("style")
            is_thought = isinstance(style, dict) and style.get("type") == "thinking"
            texts = (part.get("text") for part in step["content"])
            parts[is_thought].append("".join(text for text in texts if isinstance(text, str)))
    if not any(parts.values()):
        raise InvalidRecord(say("import.no_messages"))
    sender = version.get("senderInfo")
    model = sender.get("senderName") if isinstance(sender, dict) else None
    thoughts, said = ("\n\n".join(parts[is_thought]) for is_thought in (True, False))
    return role, with_thoughts(thoughts, said), None, model


def read_oterm(file: Path) -> Iterator[Transcript | InvalidRecord]:
    """Yield the conversations in a database, which is opened read-only.

    Raises:
        sqlite3.Error: it is not a database of oterm, or is damaged.
    """
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        for id, name, model in db.execute(
            "SELECT id, name, model FROM chat ORDER BY id"
        ).fetchall():
            try:
                yield _read_oterm_chat(db, id, str(name or ""), str(model or ""))
            except InvalidRecord as error:
                yield error


def _read_oterm_chat(db: sqlite3.Connection, id: int, name: str, model: str) -> Transcript:
    select = "SELECT author, text FROM message WHERE chat_id = ? ORDER BY id"
    rows = enumerate(db.execute(select, (id,)), 1)
    nodes = [(at, {"parent": at - 1, "row": row, "model": model}) for at, row in rows]
    return parse_conversation(nodes, "parent", _oterm_message, name)


def _oterm_message(node: Mapping[str, Any]) -> Said | None:
    author, text = node["row"]
    role = parse_speaker(_OTERM_AUTHORS.get(author, author))
    if author == "system":
        return None
    if role is None or not isinstance(text, str):
        raise TypeError
    return role, text, None, node["model"]
