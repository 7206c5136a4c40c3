"""``chatui export``: saved conversations as pages to read, transcripts, or data to train on."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from chatui import locations
from chatui.cli import options
from chatui.cli.chosen_conversations import conversation_number, ids_of
from chatui.cli.ending import SUCCESS
from chatui.cli.history import write_conversations
from chatui.cli.output import write
from chatui.conversation import dialogue_records, exports, transcript
from chatui.conversation.dialogues import Dialogue, of_rounds
from chatui.conversation.store import Store
from chatui.conversation.transcript import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import escape_json


def _to_html(whole: Transcript) -> str:
    from chatui.conversation.html_page import to_html

    return to_html(whole.conversation, whole.path())


_PAGES: dict[str, tuple[str, Callable[[Transcript], str]]] = {
    "markdown": (".md", lambda whole: exports.to_markdown(whole.conversation, whole.path())),
    "text": (".txt", lambda whole: exports.to_text(whole.conversation, whole.path())),
    "html": (".html", _to_html),
    "transcript": (".jsonl", transcript.dumps),
}
"""Forms of which a file holds one conversation: the end of its name, and its writer."""

_RECORDS: dict[str, Callable[[Dialogue], Any]] = {
    "openai": dialogue_records.to_openai,
    "sharegpt": dialogue_records.to_sharegpt,
    "alpaca": dialogue_records.to_alpaca,
    "chatglm": dialogue_records.to_chatglm,
}
"""Forms of which a file has one line for each conversation."""

_BY_SUFFIX = {suffix: name for name, (suffix, _) in _PAGES.items()} | {".json": "transcript"}
_NAME_CHARACTERS = 40


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "ids",
        nargs="*",
        type=conversation_number,
        metavar="ID",
        help=say("cli.option.conversation"),
    )
    parser.add_argument(
        "--as", dest="form", choices=(*_PAGES, *_RECORDS), help=say("cli.option.as")
    )
    parser.add_argument("-o", "--output", metavar="FILE", help=say("cli.option.output"))
    parser.add_argument("--list", action="store_true", help=say("cli.option.list"))
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    with closing(Store(locations.database_file())) as store:
        if args.list or args.json:
            write_conversations(store.conversations(), as_json=args.json)
            return SUCCESS
        ids = ids_of(store, args.ids)
        if not args.ids and (last := store.last_conversation()):
            ids = (last.id,)
        if not ids:
            raise ChatuiError(say("cli.export.none"))
        target = Path(args.output) if args.output else None
        form = args.form or _BY_SUFFIX.get(target.suffix.lower() if target else "", "markdown")
        if form in _RECORDS:
            lines = _records(store, ids, _RECORDS[form])
        elif target is not None and (len(ids) > 1 or None in args.ids or target.is_dir()):
            _write_folder(store, ids, target, *_PAGES[form])
            return SUCCESS
        else:
            lines = (_PAGES[form][1](transcript.of_store(store, id)) for id in ids)
        if target is not None:
            exports.write_whole(target, lines)
            return SUCCESS
        for line in lines:
            write(line)
    return SUCCESS


def _records(
    store: Store, ids: Sequence[int], record_of: Callable[[Dialogue], Any]
) -> Iterator[str]:
    for id in ids:
        dialogue = of_rounds(store.rounds(id))
        if dialogue.rounds:
            yield escape_json(json.dumps(record_of(dialogue), ensure_ascii=False)) + "\n"


def _write_folder(
    store: Store,
    ids: Sequence[int],
    folder: Path,
    suffix: str,
    text_of: Callable[[Transcript], str],
) -> None:
    """A file for each conversation, named after its number and title."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ChatuiError(
            say("conversation.file_unwritable", path=folder, reason=reason)
        ) from error
    for id in ids:
        whole = transcript.of_store(store, id)
        title = re.sub(r"[^\w-]+", "-", whole.conversation.title)[:_NAME_CHARACTERS].strip("-")
        exports.write_whole(folder / f"{id}-{title or 'chatui'}{suffix}", text_of(whole))
