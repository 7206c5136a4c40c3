"""``chatui search``, ``history``, ``export`` and ``import``: the saved conversations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from chatui import locations
from chatui.cli.exit_codes import SUCCESS, UsageError, message_on_interrupt
from chatui.cli.output import write, write_json, write_line, write_stderr, write_table
from chatui.cli.progress import (
    REPORTED_RECORDS,
    ProgressDisplay,
    opening_progress,
    skipped_records_reporter,
)
from chatui.conversation.database_recovery import open_recovered
from chatui.conversation.rounds import Conversation
from chatui.conversation.store import Store
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.readable import date_and_time

_CHANGES = ("pin", "unpin", "archive", "unarchive", "delete", "restore", "add_tag", "remove_tag")


def open_store() -> Store:
    """Open the user's store; notes are written to standard error."""
    with opening_progress() as on_progress:
        return open_recovered(locations.database_file(), write_stderr, Store, on_progress)


def conversation_ids(store: Store, wanted: Sequence[int | None]) -> tuple[int, ...]:
    """Return the ids without duplicates; None is replaced by all ids, in ascending order."""
    ids: list[int] = []
    for id in wanted:
        if id is None:
            ids += sorted(each.id for each in store.conversations(limit=-1))
        else:
            ids.append(store.conversation(id).id)
    return tuple(dict.fromkeys(ids))


def search(args: argparse.Namespace) -> int:
    """Find text in earlier conversations."""
    text = " ".join(args.words)
    if not text.strip():
        raise UsageError(say("cli.search.blank"))
    with closing(open_store()) as store:
        hits = store.search(text, args.limit)
    if args.json:
        write_json([asdict(hit) | {"snippet": hit.snippet} for hit in hits])
    elif hits:
        write_table([(str(hit.conversation_id), hit.title, hit.snippet) for hit in hits])
    else:
        write_stderr(say("cli.search.nothing", text=text))
    return SUCCESS


def history(args: argparse.Namespace) -> int:
    """List saved conversations; pin, archive, tag, rename or delete them."""
    tag = args.tag.lstrip("#＃")
    with closing(open_store()) as store:
        if args.title is not None or any(getattr(args, name) for name in _CHANGES):
            if not args.ids:
                raise UsageError(say("history.history.no_ids"))
            if args.title is not None and (len(args.ids) > 1 or None in args.ids):
                raise UsageError(say("history.history.one_title"))
            ids = filter(None, args.ids) if args.restore else conversation_ids(store, args.ids)
            found = [_change(store, id, args) for id in ids]
        elif args.ids:
            found = [store.conversation(id) for id in conversation_ids(store, args.ids)]
        elif args.deleted:
            found = [each for each in store.deleted() if not tag or tag in each.tags]
        else:
            found = list(
                store.conversations(args.limit, archived=args.archived, tag=tag, pinned_first=True)
            )
    empty = say("history.history.no_tag", tag=tag) if tag else say("history.history.none")
    _write_conversations(found, empty, as_json=args.json)
    return SUCCESS


def _change(store: Store, id: int, args: argparse.Namespace) -> Conversation:
    """Apply the options to one conversation, and return the changed conversation."""
    one = store.restore(id) if args.restore else store.conversation(id)
    tags = None
    if args.add_tag or args.remove_tag:
        less = {tag.lstrip("#＃") for tag in args.remove_tag}
        tags = [tag for tag in (*one.tags, *args.add_tag) if tag.lstrip("#＃") not in less]
    one = store.organise(
        id,
        pinned=args.pin or (False if args.unpin else None),
        archived=args.archive or (False if args.unarchive else None),
        tags=tags,
    )
    if args.title is not None:
        one = store.rename(id, args.title)
    return store.delete(id) if args.delete else one


def _write_conversations(found: Sequence[Conversation], empty: str, *, as_json: bool) -> None:
    """Write conversations as a table, or as a JSON list; ``empty`` says that there are none."""
    if as_json:
        write_json([asdict(conversation) for conversation in found])
        return
    if not found:
        write_stderr(empty)
        return
    columns = ("id", "used", "model", "marks", "rounds", "title_column")
    rows = [
        (
            str(each.id),
            date_and_time(each.updated_at),
            each.model,
            _marks(each),
            str(each.round_count),
            each.title,
        )
        for each in found
    ]
    write_table(rows, tuple(say(f"history.history.{name}") for name in columns))


def _marks(conversation: Conversation) -> str:
    """Return the marks for pinned and archived, and the tags."""
    names = [name for name in ("pinned", "archived") if getattr(conversation, name)]
    words = [say(f"history.history.{name}_mark") for name in names]
    return " ".join((*words, *(f"#{tag}" for tag in conversation.tags)))


def export(args: argparse.Namespace) -> int:
    """Export saved conversations as pages, transcripts or training data."""
    from chatui.conversation import export_formats as formats

    with closing(open_store()) as store:
        if args.list or args.json:
            empty = say("history.history.none")
            _write_conversations(store.conversations(), empty, as_json=args.json)
            return SUCCESS
        target = Path(args.output) if args.output else None
        by_ending = None if target is None or target.is_dir() else target
        format = formats.format_named(args.format) if args.format else formats.format_of(by_ending)
        if args.probabilities and not format.shows_probabilities:
            raise UsageError(say("export.no_probabilities", form=format.name))
        ids = conversation_ids(store, args.ids)
        if not args.ids and (last := store.last_conversation()):
            ids = (last.id,)
        if not ids:
            raise ChatuiError(say("cli.export.none"))
        if target is not None:
            is_folder = len(ids) > 1 or None in args.ids
            formats.export_files(
                store, ids, target, format, probabilities=args.probabilities, is_folder=is_folder
            )
            return SUCCESS
        for part in formats.export_parts(store, ids, format, probabilities=args.probabilities):
            write(part)
    return SUCCESS


def import_(args: argparse.Namespace) -> int:
    """Import conversations of other programs into the history."""
    from chatui.conversation.conversation_files import (
        IMPORT_SUFFIXES,
        ImportCounts,
        expand_paths,
        import_files,
    )

    files = expand_paths(args.files, IMPORT_SUFFIXES)
    display = ProgressDisplay()
    counts = ImportCounts()

    def report(now: ImportCounts) -> None:
        nonlocal counts
        counts = now
        share = now.done_bytes / now.total_bytes if now.total_bytes else 1.0
        display.update(share, say("import.import.progress", done=f"{now.conversations:,}"))

    def stopped() -> str:
        return say("import.import.stopped", count=counts.conversations)

    with message_on_interrupt(stopped), closing(open_store()) as store:
        counts = import_files(
            store,
            files,
            encoding=args.encoding,
            on_progress=report,
            on_skipped=skipped_records_reporter(),
        )
    if counts.skipped > REPORTED_RECORDS:
        write_stderr(say("import.import.skipped", count=counts.skipped))
    if not counts.conversations and not counts.known:
        raise ChatuiError(say("import.import.nothing"))
    words = {"conversations": counts.conversations, "rounds": counts.rounds}
    write_line(say("import.import.done", **words))
    if counts.known:
        write_line(say("import.import.known", count=counts.known))
    return SUCCESS
