-- The steps of upgrades.py. The statements of a released step are never changed.

-- Version 1: conversations, rounds, and the pieces of their replies. Short columns come before the
-- long texts, so that a listing does not read the pages of the texts. A seed is text, because it may
-- have 64 unsigned bits and SQLite's integers are signed.
CREATE TABLE conversations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    head_id INTEGER REFERENCES rounds (id)
);
CREATE INDEX conversations_by_time ON conversations (updated_at);
CREATE TABLE rounds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    conversation_id INTEGER NOT NULL REFERENCES conversations (id),
    parent_id INTEGER REFERENCES rounds (id),
    depth INTEGER NOT NULL,
    state TEXT NOT NULL,
    writer TEXT NOT NULL,
    model TEXT NOT NULL,
    format TEXT NOT NULL,
    finish_reason TEXT,
    seed TEXT,
    sampling TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    reused_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    started_at REAL NOT NULL,
    seconds REAL NOT NULL DEFAULT 0,
    error TEXT,
    query TEXT NOT NULL,
    reply TEXT NOT NULL DEFAULT ''
);
CREATE INDEX rounds_by_conversation ON rounds (conversation_id);
CREATE INDEX rounds_by_parent ON rounds (parent_id);
CREATE INDEX rounds_streaming ON rounds (writer) WHERE state = 'streaming';
CREATE TABLE pieces (
    round_id INTEGER NOT NULL REFERENCES rounds (id),
    batch INTEGER NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (round_id, batch)
) WITHOUT ROWID;

-- Version 2: "indexed" is 1 for rounds that are in the search indexes.
ALTER TABLE rounds ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rounds_unindexed ON rounds (id) WHERE indexed = 0;

-- Version 3: the prompt of each round, as JSON compressed by zlib.
CREATE TABLE prompts (
    round_id INTEGER PRIMARY KEY REFERENCES rounds (id),
    data BLOB NOT NULL
);

-- Version 4: ratings, notes and corrections of replies. "corrects_id" is not a foreign key, which
-- would search all rounds for each one deleted; ids are never reused.
ALTER TABLE rounds ADD COLUMN rating INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rounds ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE rounds ADD COLUMN corrects_id INTEGER;

-- Version 5: replaced by version 7.

-- Version 6: pinned and archived conversations; tags, with a line break before and after each; the
-- time of a deletion that can be undone, in seconds since the epoch.
ALTER TABLE conversations ADD COLUMN pinned INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE conversations ADD COLUMN tags TEXT NOT NULL DEFAULT '';
ALTER TABLE conversations ADD COLUMN deleted_at REAL;

-- Version 7: trigram indexes for substring search in any script. "round_index" has the texts, each
-- followed by two characters, so that every character of a text begins a trigram. "sound_index" has
-- chatui.pinyin.initials of the texts. Both are created empty; search_index.index_some fills them
-- while the app runs.
DROP TABLE IF EXISTS round_terms;
DROP TABLE IF EXISTS sound_terms;
DROP TABLE IF EXISTS round_index;
DROP TABLE IF EXISTS sound_index;
UPDATE rounds SET indexed = 0 WHERE indexed != 0;
CREATE VIRTUAL TABLE round_index USING fts5
    (query, reply, content='rounds', content_rowid='id', detail=none, tokenize='trigram');
CREATE VIRTUAL TABLE sound_index USING fts5
    (sounds, content='', detail=none, tokenize='trigram');
CREATE VIRTUAL TABLE round_terms USING fts5vocab (round_index, instance);
CREATE VIRTUAL TABLE sound_terms USING fts5vocab (sound_index, instance);
