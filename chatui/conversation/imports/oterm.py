"""Read oterm's database: the tables ``chat`` (name, model) and ``message`` (author, text)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from chatui.conversation.dialogues import InvalidRecord
from chatui.conversation.imports.message_tree import (
    ImportedMessage,
    Speaker,
    build_conversation,
)
from chatui.conversation.rounds import Transcript

MAGIC = b"SQLite format 3\0"

_AUTHORS: dict[str, Speaker] = {
    "me": "user",
    "user": "user",
    "ollama": "assistant",
    "assistant": "assistant",
}
"""The authors' names in older and newer versions."""


def read_oterm(file: Path) -> Iterator[Transcript | InvalidRecord]:
    """Yield the conversations in a database, which is opened read-only.

    Raises:
        sqlite3.Error: it is not a database of oterm, or is damaged.
    """
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        chats = db.execute("SELECT id, name, model FROM chat ORDER BY id").fetchall()
        for id, name, model in chats:
            try:
                yield _chat(db, id, str(name or ""), str(model or ""))
            except InvalidRecord as error:
                yield error


def _chat(db: sqlite3.Connection, id: int, name: str, model: str) -> Transcript:
    rows = db.execute("SELECT id, author, text FROM message WHERE chat_id = ? ORDER BY id", (id,))
    unread = 0
    parent: str | None = None
    messages = []
    for number, author, text in rows:
        speaker = _AUTHORS.get(author)
        if speaker is None or not isinstance(text, str):
            unread += author != "system"
            continue
        messages.append(ImportedMessage(str(number), parent, speaker, text, model=model))
        parent = str(number)
    return build_conversation(messages, title=name, unread=unread)
