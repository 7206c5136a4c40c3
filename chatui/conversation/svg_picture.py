"""Export a conversation as an SVG picture of a terminal that loads no external fonts."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from chatui.conversation.exports import note_line, reply_marks, state_line
from chatui.conversation.rounds import Piece, Round, Transcript
from chatui.readable import probability_step
from chatui.text import plain_text

if TYPE_CHECKING:
    from rich.text import Text

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

    console = Console(
        file=io.StringIO(),
        record=True,
        width=_COLUMNS,
        force_terminal=True,
        color_system="truecolor",
        highlight=False,
        legacy_windows=False,
        # NO_COLOR is only for terminals.
        no_color=False,
        emoji=False,
        markup=False,
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
