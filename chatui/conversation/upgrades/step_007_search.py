"""Version 7: indexes of three-character sequences, for substring search in any script.

``round_index`` holds the texts, each with two characters behind it, so that every character of a
text begins a trigram; ``sound_index`` what :func:`chatui.pinyin.initials` gives of them. Both are
empty at first: :func:`.search_index.index_some` fills them while the app runs.

The trigram tokenizer came with SQLite 3.34; with an older library there is no index, and the search
reads the rounds themselves.
"""

from __future__ import annotations

import sqlite3

_STATEMENTS = (
    *(
        f"DROP TABLE IF EXISTS {name}"
        for name in ("round_terms", "sound_terms", "round_index", "sound_index")
    ),
    "UPDATE rounds SET indexed = 0 WHERE indexed != 0",
    "CREATE VIRTUAL TABLE round_index USING fts5"
    " (query, reply, content='rounds', content_rowid='id', detail=none, tokenize='trigram')",
    "CREATE VIRTUAL TABLE sound_index USING fts5"
    " (sounds, content='', detail=none, tokenize='trigram')",
    "CREATE VIRTUAL TABLE round_terms USING fts5vocab (round_index, instance)",
    "CREATE VIRTUAL TABLE sound_terms USING fts5vocab (sound_index, instance)",
)


def upgrade(connection: sqlite3.Connection) -> None:
    """From version 6 to version 7."""
    connection.execute("SAVEPOINT search_index")
    try:
        for statement in _STATEMENTS:
            connection.execute(statement)
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("no such module", "no such tokenizer")):
            raise
        connection.execute("ROLLBACK TO search_index")
    connection.execute("RELEASE search_index")
