"""``chatui history``: list saved conversations; pin, archive, tag, rename or delete them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict

from chatui.cli import options
from chatui.cli.conversation_arguments import conversation_ids, conversation_number, open_store
from chatui.cli.exit_codes import SUCCESS, UsageError
from chatui.cli.output import write_json, write_stderr, write_table
from chatui.conversation.rounds import Conversation
from chatui.conversation.store import Store
from chatui.locales import say
from chatui.readable import date_and_time

_SWITCHES = ("pin", "unpin", "archive", "unarchive", "delete", "restore")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids",
        nargs="*",
        type=conversation_number,
        metavar="ID",
        help=say("history.history.ids"),
    )
    parser.add_argument("--tag", metavar="TAG", default="", help=say("history.history.tag"))
    parser.add_argument("--archived", action="store_true", help=say("history.history.archived"))
    parser.add_argument("--deleted", action="store_true", help=say("history.history.deleted"))
    parser.add_argument(
        "--limit",
        type=options.whole_number(1),
        default=1000,
        metavar="N",
        help=say("history.history.limit"),
    )
    options.add_json(parser)
    changes = parser.add_argument_group(say("history.history.group"))
    for name in _SWITCHES:
        changes.add_argument(f"--{name}", action="store_true", help=say(f"history.history.{name}"))
    for name in ("add-tag", "remove-tag"):
        words = say(f"history.history.{name.replace('-', '_')}")
        changes.add_argument(f"--{name}", metavar="TAG", action="append", default=[], help=words)
    changes.add_argument("--title", metavar="TEXT", help=say("history.history.title"))


def run(args: argparse.Namespace) -> int:
    changes = [name for name in _SWITCHES if getattr(args, name)]
    with closing(open_store()) as store:
        if changes or args.add_tag or args.remove_tag or args.title is not None:
            if not args.ids:
                raise UsageError(say("history.history.no_ids"))
            if args.title is not None and (len(args.ids) > 1 or None in args.ids):
                raise UsageError(say("history.history.one_title"))
            ids = (
                tuple(filter(None, args.ids)) if args.restore else conversation_ids(store, args.ids)
            )
            found = [_change(store, id, changes, args) for id in ids]
        elif args.ids:
            found = [store.conversation(id) for id in conversation_ids(store, args.ids)]
        elif args.deleted:
            found = list(store.deleted())
        else:
            tag = args.tag.lstrip("#＃")
            found = list(
                store.conversations(
                    limit=args.limit, archived=args.archived, tag=tag, pinned_first=True
                )
            )
    write_conversations(found, as_json=args.json)
    return SUCCESS


def _change(
    store: Store, id: int, changes: Sequence[str], args: argparse.Namespace
) -> Conversation:
    """Apply the options to one conversation, and return the changed conversation."""
    one = store.restore(id) if "restore" in changes else store.conversation(id)
    tags = None
    if args.add_tag or args.remove_tag:
        less = {tag.lstrip("#＃") for tag in args.remove_tag}
        tags = [tag for tag in (*one.tags, *args.add_tag) if tag.lstrip("#＃") not in less]
    one = store.organise(
        id,
        pinned=_switch("pin", "unpin", changes),
        archived=_switch("archive", "unarchive", changes),
        tags=tags,
    )
    if args.title is not None:
        one = store.rename(id, args.title)
    if "delete" in changes:
        one = store.delete(id)
    return one


def _switch(on: str, off: str, changes: Sequence[str]) -> bool | None:
    return True if on in changes else False if off in changes else None


def write_conversations(found: Sequence[Conversation], *, as_json: bool) -> None:
    """Write conversations as a table, or as a JSON list of objects."""
    if as_json:
        write_json([asdict(conversation) for conversation in found])
    elif not found:
        write_stderr(say("history.history.none"))
    else:
        columns = ("id", "used", "model", "marks", "rounds", "title_column")
        write_table(
            [
                (
                    str(each.id),
                    date_and_time(each.updated_at),
                    each.model,
                    _marks(each),
                    str(each.round_count),
                    each.title,
                )
                for each in found
            ],
            tuple(say(f"history.history.{name}") for name in columns),
        )


def _marks(conversation: Conversation) -> str:
    """Return the marks for pinned and archived, and the tags."""
    names = [name for name in ("pinned", "archived") if getattr(conversation, name)]
    words = [say(f"history.history.{name}_mark") for name in names]
    return " ".join((*words, *(f"#{tag}" for tag in conversation.tags)))
