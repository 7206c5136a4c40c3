"""The forms in which conversations go out: one table of names, endings and writers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chatui.conversation import dialogue_records, exports, transcript
from chatui.conversation.dialogues import Dialogue, of_rounds
from chatui.conversation.store import Store
from chatui.conversation.transcript import Transcript
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.text import escape_json

_NAME_CHARACTERS = 40


@dataclass(frozen=True)
class ExportForm:
    """A form of a file.

    Attributes:
        name: as ``--as`` takes it.
        suffix: the end of its files' names.
        page: the parts of a file of one conversation; the flag asks for the probabilities of the
            tokens. None if a file has a line for each conversation.
        record: what such a line says, as JSON.
        shows_probabilities: whether the flag has an effect.
    """

    name: str
    suffix: str
    page: Callable[[Transcript, bool], Iterable[str]] | None = None
    record: Callable[[Dialogue], Any] | None = None
    shows_probabilities: bool = False


def _html(whole: Transcript, probabilities: bool) -> Iterable[str]:
    from chatui.conversation.html_page import to_html

    yield to_html(whole, probabilities=probabilities)


def _svg(whole: Transcript, probabilities: bool) -> Iterable[str]:
    from chatui.conversation.svg_picture import to_svg

    yield to_svg(whole, probabilities=probabilities)


FORMS = (
    ExportForm(
        "markdown", ".md", lambda whole, _: [exports.to_markdown(whole.conversation, whole.path())]
    ),
    ExportForm(
        "text", ".txt", lambda whole, _: [exports.to_text(whole.conversation, whole.path())]
    ),
    ExportForm("html", ".html", _html, shows_probabilities=True),
    ExportForm("svg", ".svg", _svg, shows_probabilities=True),
    ExportForm("transcript", ".jsonl", lambda whole, _: transcript.lines_of(whole)),
    ExportForm("openai", ".jsonl", record=dialogue_records.to_openai),
    ExportForm("sharegpt", ".jsonl", record=dialogue_records.to_sharegpt),
    ExportForm("alpaca", ".jsonl", record=dialogue_records.to_alpaca),
    ExportForm("chatglm", ".jsonl", record=dialogue_records.to_chatglm),
)
"""All forms, in the order in which they are offered."""

_OTHER_ENDINGS = {".markdown": "markdown", ".htm": "html", ".json": "transcript"}


def form_named(name: str) -> ExportForm:
    """The form that is called so; raises StopIteration if there is none."""
    return next(form for form in FORMS if form.name == name)


def form_of(file: Path | None) -> ExportForm:
    """The form that a file's ending means; Markdown for any other ending and for no file."""
    suffix = "" if file is None else file.suffix.lower()
    found = (form for form in FORMS if suffix == form.suffix)
    return next(found, form_named(_OTHER_ENDINGS.get(suffix, "markdown")))


def parts_of(
    store: Store, ids: Sequence[int], form: ExportForm, *, probabilities: bool = False
) -> Iterator[str]:
    """What stands in a file of these conversations, one after the other.

    Raises:
        ChatuiError: the store cannot be read.
    """
    for id in ids:
        if form.page is not None:
            yield from form.page(transcript.of_store(store, id), probabilities)
        elif form.record is not None and (dialogue := of_rounds(store.rounds(id))).rounds:
            yield escape_json(json.dumps(form.record(dialogue), ensure_ascii=False)) + "\n"


def write_files(
    store: Store,
    ids: Sequence[int],
    target: Path,
    form: ExportForm,
    *,
    probabilities: bool = False,
    is_folder: bool = False,
) -> None:
    """Write conversations to ``target``: a file, or a folder with a file for each of them.

    Args:
        is_folder: make a folder of it, if the form has files of one conversation.

    Raises:
        ChatuiError: the store cannot be read, or something not written.
    """
    if not (form.page and (is_folder or target.is_dir())):
        parts = parts_of(store, ids, form, probabilities=probabilities)
        exports.write_whole(target, parts)
        return
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ChatuiError(say("conversation.file_unwritable", path=target, reason=error)) from error
    for id in ids:
        file = target / f"{id}-{file_name(store.conversation(id).title)}{form.suffix}"
        exports.write_whole(file, parts_of(store, (id,), form, probabilities=probabilities))


def file_name(title: str) -> str:
    """A title as the beginning of a file's name."""
    return re.sub(r"[^\w-]+", "-", title)[:_NAME_CHARACTERS].strip("-") or "chatui"
