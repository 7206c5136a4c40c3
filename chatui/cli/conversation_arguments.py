"""Saved conversations as arguments: numbers, or "all"."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from chatui import locations
from chatui.cli.output import write_stderr
from chatui.cli.progress import opening_progress
from chatui.conversation.database_recovery import open_recovered
from chatui.conversation.store import Store
from chatui.locales import say


def open_store() -> Store:
    """Open the user's store; notes are written to standard error."""
    with opening_progress() as on_progress:
        return open_recovered(locations.database_file(), write_stderr, Store, on_progress)


def conversation_number(text: str) -> int | None:
    """Argparse type of a conversation's number; "all" is None."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:19]) < 2**63):
        raise argparse.ArgumentTypeError(say("dataset.dataset.no_number", value=text[:60]))
    return int(text)


def conversation_ids(store: Store, wanted: Sequence[int | None]) -> tuple[int, ...]:
    """Return the ids without duplicates; None is replaced by all ids, in ascending order."""
    ids: list[int] = []
    for id in wanted:
        if id is None:
            ids += sorted(each.id for each in store.conversations(limit=-1))
        else:
            ids.append(store.conversation(id).id)
    return tuple(dict.fromkeys(ids))
