"""The export formats of conversations: names, file endings and writers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatui.conversation import dialogues, exports
from chatui.conversation.dialogues import Dialogue, dialogue_from_rounds
from chatui.conversation.html_page import to_html
from chatui.conversation.rounds import Transcript
from chatui.conversation.store import Store
from chatui.conversation.svg_picture import to_svg
from chatui.conversation.transcript_writer import to_lines
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import escape_json

_NAME_CHARACTERS = 40


@dataclass(frozen=True)
class ExportFormat:
    """An export format: either ``page`` or ``record`` is set.

    Attributes:
        name: value of ``--as``.
        suffix: ending of its files, with the dot.
        page: return the parts of a file with one conversation; the flag adds the probabilities of
            the tokens.
        record: return a conversation as a JSON value, for formats with one line for each.
        shows_probabilities: whether ``page`` supports its flag.
    """

    name: str
    suffix: str
    page: Callable[[Transcript, bool], Iterable[str]] | None = None
    record: Callable[[Dialogue], Any] | None = None
    shows_probabilities: bool = False


EXPORT_FORMATS = (
    ExportFormat("markdown", ".md", lambda whole, _: [exports.to_markdown(whole)]),
    ExportFormat("text", ".txt", lambda whole, _: [exports.to_text(whole)]),
    ExportFormat("html", ".html", lambda *args: [to_html(*args)], shows_probabilities=True),
    ExportFormat("svg", ".svg", lambda *args: [to_svg(*args)], shows_probabilities=True),
    ExportFormat("transcript", ".jsonl", lambda whole, _: to_lines(whole)),
    ExportFormat("openai", ".jsonl", record=dialogues.to_openai),
    ExportFormat("sharegpt", ".jsonl", record=dialogues.to_sharegpt),
    ExportFormat("alpaca", ".jsonl", record=dialogues.to_alpaca),
    ExportFormat("chatglm", ".jsonl", record=dialogues.to_chatglm),
)
"""All export formats, in the order of the menu."""

_OTHER_ENDINGS = {"": "markdown", ".markdown": "markdown", ".htm": "html", ".json": "transcript"}


def format_named(name: str) -> ExportFormat:
    """Return the format with a name; raises StopIteration if there is none."""
    return next(format for format in EXPORT_FORMATS if format.name == name)


def format_of(file: Path | None) -> ExportFormat:
    """Return the format of a file by its ending; Markdown without an ending and for None.

    Raises:
        ChatuiError: the ending is unknown.
    """
    suffix = "" if file is None else file.suffix.lower()
    name = _OTHER_ENDINGS.get(suffix)
    for format in EXPORT_FORMATS:
        if suffix == format.suffix or name == format.name:
            return format
    forms = ", ".join(dict.fromkeys(format.suffix for format in EXPORT_FORMATS))
    raise ChatuiError(say("export.unknown_ending", path=file, forms=forms))


def export_parts(
    store: Store, ids: Sequence[int], format: ExportFormat, *, probabilities: bool = False
) -> Iterator[str]:
    """Yield the contents of a file with these conversations, in parts.

    Raises:
        ChatuiError: the store cannot be read.
    """
    for id in ids:
        if format.page is not None:
            yield from format.page(store.transcript(id), probabilities)
        if format.record is not None:
            dialogue = dialogue_from_rounds(store.rounds(id))
            if dialogue.rounds:
                record = json.dumps(format.record(dialogue), ensure_ascii=False)
                yield escape_json(record) + "\n"


def export_files(
    store: Store,
    ids: Sequence[int],
    target: Path,
    format: ExportFormat,
    *,
    probabilities: bool = False,
    is_folder: bool = False,
) -> None:
    """Write conversations to ``target``, a file or a folder with a file for each.

    Args:
        is_folder: create ``target`` as a folder, if the format has a file for each conversation.

    Raises:
        ChatuiError: the store cannot be read, or a file cannot be written.
    """
    if not (format.page and (is_folder or target.is_dir())):
        parts = export_parts(store, ids, format, probabilities=probabilities)
        exports.write_atomically(target, parts)
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ChatuiError(say("conversation.file_unwritable", path=target, reason=error)) from error
    for id in ids:
        file = target / f"{id}-{file_name(store.conversation(id).title)}{format.suffix}"
        parts = export_parts(store, (id,), format, probabilities=probabilities)
        exports.write_atomically(file, parts)


def file_name(title: str) -> str:
    """Return a title as the start of a file name."""
    return re.sub(r"[^\w-]+", "-", title)[:_NAME_CHARACTERS].strip("-") or "chatui"
