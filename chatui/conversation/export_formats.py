"""The export formats of conversations: names, file endings and writers.

The SVG picture of a terminal is written here; it loads no external fonts.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chatui.conversation import dialogues, exports
from chatui.conversation.dialogues import Dialogue, dialogue_from_rounds
from chatui.conversation.exports import note_line, reply_marks, state_line
from chatui.conversation.rounds import Piece, Round, Transcript
from chatui.conversation.store import Store
from chatui.conversation.transcript_writer import to_lines
from chatui.errors import ChatuiError
from chatui.locales import say
from chatui.readable import probability_step
from chatui.text import escape_json, plain_text

if TYPE_CHECKING:
    from rich.text import Text

_NAME_CHARACTERS = 40
_COLUMNS = 80
_QUERY, _MUTED = "bold #e0917f", "#9a978f"
_STEPS = ("", "on #244a34", "on #5a4a1c", "on #5e2a2a")
"""Backgrounds of tokens, from the most to the least probable."""

_NO_XML = re.compile("[\ufffe\uffff]")

_EXTERNAL_FONTS = re.compile(r"<!--.*?-->|@font-face \{\{.*?\}\}", re.DOTALL)
"""Font declarations in rich's SVG template."""

_STYLES = {
    "Fira Code": '"Sarasa Mono SC", "Noto Sans Mono CJK SC"',
    "font-variant-east-asian: full-width": "white-space: pre",
}


def to_svg(transcript: Transcript, probabilities: bool = False) -> str:
    """Return SVG with the query and the reply of each round, wrapped to 80 columns.

    Args:
        probabilities: colour tokens by their probability, if known.
    """
    from rich._export_format import CONSOLE_SVG_FORMAT
    from rich.console import Console
    from rich.terminal_theme import TerminalTheme
    from rich.text import Text

    # NO_COLOR is only for terminals.
    console = Console(
        file=io.StringIO(), record=True, width=_COLUMNS, color_system="truecolor", no_color=False
    )
    for each in transcript.path():
        console.print(Text(_safe(each.query), _QUERY))
        if by := " · ".join(filter(None, (each.model, *reply_marks(each)))):
            console.print(Text(_safe(by), _MUTED))
        pieces = transcript.pieces.get(each.id, ()) if probabilities else ()
        console.print(_reply(each, pieces))
        for words in filter(None, (state_line(each), note_line(each))):
            console.print(Text(_safe(words), f"italic {_MUTED}"))
        console.print()
    plain = [(0, 0, 0)] * 8
    theme = TerminalTheme((23, 24, 27), (228, 226, 220), plain, plain)
    title = _safe(transcript.conversation.title)
    code_format = _EXTERNAL_FONTS.sub("", CONSOLE_SVG_FORMAT)
    for its, ours in _STYLES.items():
        code_format = code_format.replace(its, ours)
    return console.export_svg(title=title, theme=theme, code_format=code_format)


def _reply(each: Round, pieces: tuple[Piece, ...]) -> Text:
    from rich.text import Text

    if not any(piece.logprob is not None for piece in pieces):
        return Text(_safe(each.reply))
    text = Text()
    for piece in pieces:
        text.append(_safe(piece.text), _STEPS[probability_step(piece.logprob)])
    return text


def _safe(text: str) -> str:
    return _NO_XML.sub("\ufffd", plain_text(text))


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
    ExportFormat("html", ".html", lambda *args: [exports.to_html(*args)], shows_probabilities=True),
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
