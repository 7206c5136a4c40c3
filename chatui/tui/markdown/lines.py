"""Parse Markdown one line at a time, with the state left by the line before.

A newline is a line break, as Chinese chat models use it, so a line does not change the lines above
it. The only exception is the second line of a table, which turns the first into its head.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from chatui.tui.markdown.code_colours import START, LexerState, colour_line
from chatui.tui.markdown.inline import close_open_marks, read_inline
from chatui.tui.wrapping import Prefix, Span

MAX_DEPTH = 12
"""Lists and quotes nested more deeply are not indented further."""

MAX_ROW_CHARACTERS = 1_000
"""Longer lines are not table rows."""

_QUOTE = re.compile(r" {0,3}> ?")
_HEADING = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)(?:[ \t]+#+)?[ \t]*$")
_RULE = re.compile(r" {0,3}(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,}|={3,}[ \t]*)$")
_ITEM = re.compile(r"([ \t]*)([-*+]|\d{1,9}[.)])(?:[ \t]+(.*)|$)")
_TASK = re.compile(r"\[([ xX])\][ \t]+")
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*(.*?)[ \t]*$")
_DELIMITERS = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_BEGINS_DELIMITERS = re.compile(r"[ \t]*[|:-][ \t|:-]*$")
_CELL_END = re.compile(r"(?<!\\)\|")
_BULLETS = "•◦▪"
_CODE_INDENT = 4

Alignment: TypeAlias = Literal["left", "center", "right"]


@dataclass(frozen=True)
class MarkdownLine:
    """A parsed line, before it is wrapped.

    Attributes:
        style: style of the whole line.
        first, rest: prefix of its first row, and of its other rows.
        kind: a rule fills the row with a line; a click on a code head copies the code.
    """

    text: str
    spans: tuple[Span, ...] = ()
    style: str = ""
    first: Prefix = ()
    rest: Prefix = ()
    kind: Literal["text", "rule", "code head"] = "text"


@dataclass(frozen=True)
class TableRow:
    """A row of a table below its head; the delimiter row has alignments instead of cells."""

    cells: tuple[str, ...]
    alignments: tuple[Alignment, ...] = ()


@dataclass(frozen=True)
class ListItem:
    """An open list item, which later lines may continue.

    Attributes:
        column: column of its marker in the source.
        content: cells from the left edge to its text on the screen.
    """

    column: int
    content: int


@dataclass(frozen=True)
class CodeFence:
    """An open block of code between fences.

    Attributes:
        mark: opening mark.
        column: column of the opening mark; this indent is removed from each line.
        quotes: number of ``>`` before each line.
        lexer: state of the highlighting.
    """

    mark: str
    column: int
    quotes: int
    language: str
    lexer: LexerState
    prefix: Prefix


@dataclass(frozen=True)
class LineState:
    """The state of the parser after a line.

    Attributes:
        items: open list items, the innermost last.
        formula: closing mark of an open formula of several lines; "" outside one.
        head: cells of the last line, which may be the head of a table.
        in_table: whether the last line belongs to a table.
        after_blank: whether the last line was empty, or indented code.
    """

    fence: CodeFence | None = None
    items: tuple[ListItem, ...] = ()
    formula: str = ""
    head: tuple[str, ...] = ()
    in_table: bool = False
    after_blank: bool = True


ParsedLine: TypeAlias = MarkdownLine | TableRow | None
"""None for a line that shows nothing."""
Parsed: TypeAlias = tuple[ParsedLine, LineState]


def read_line(source: str, state: LineState, *, is_complete: bool = True) -> Parsed:
    """Parse a line; return it with the state for the next one.

    Args:
        is_complete: False for a line that may grow; what may become a mark is then left out.
    """
    rest, quotes = source, 0
    max_quotes = 10**9 if state.fence is None else state.fence.quotes
    while quotes < max_quotes and (match := _QUOTE.match(rest)):
        rest, quotes = rest[match.end() :], quotes + 1
    prefix: Prefix = (("│ ", "quote-bar"),) * min(quotes, MAX_DEPTH)
    if state.fence is not None:
        if quotes == state.fence.quotes:
            return _in_fence(rest, state, state.fence, is_complete)
        state = replace(state, fence=None)
    if state.formula and rest.strip():
        ends = state.formula in rest
        return _formula(rest, prefix), replace(state, formula="" if ends else state.formula)
    if not rest.strip():
        return MarkdownLine("", first=prefix), LineState(items=state.items)
    if (
        state.head
        and len(rest) < MAX_ROW_CHARACTERS
        and (shown := _table_row(rest, state, is_complete)) is not None
    ):
        return shown
    after = LineState(items=state.items, after_blank=False)
    if match := _RULE.match(rest):
        return MarkdownLine("─", style="rule", first=prefix, kind="rule"), LineState()
    if match := _HEADING.match(rest):
        style = f"heading{min(3, len(match[1]))}"
        return _text(match[2], prefix, style, is_complete), LineState()
    if match := _ITEM.match(rest):
        return _item(match, after, prefix, quotes, is_complete)
    items = tuple(item for item in state.items if item.column < _column(rest))
    indent = items[-1].content if items else 0
    return _in_item(
        rest, replace(after, items=items), prefix, indent, quotes, state.after_blank, is_complete
    )


def _in_item(
    rest: str,
    state: LineState,
    prefix: Prefix,
    indent: int,
    quotes: int,
    after_blank: bool,
    is_complete: bool,
    marker: Prefix | None = None,
) -> Parsed:
    """Parse the content of a line, ``indent`` cells from the left edge.

    Args:
        marker: prefix of the list item, if one begins in this line.
    """
    inner = (*prefix, *(((" " * indent, ""),) if indent else ()))
    first = inner if marker is None else (*prefix, *marker)
    fence = _FENCE.match(rest)
    if fence and ("`" not in fence[3] or fence[2][0] == "~"):
        language = fence[3].split()[0].strip("{}.") if fence[3].split() else ""
        inside = CodeFence(fence[2], _column(fence[1]), quotes, language, START, inner)
        head = MarkdownLine(fence[3][:80], (), "code-head", first, inner, "code head")
        return head, replace(state, fence=inside)
    stripped = rest.strip()
    for opening, closing in (("$$", "$$"), ("\\[", "\\]")):
        if stripped.startswith(opening) and closing not in stripped[2:]:
            return _formula(rest, inner), replace(state, formula=closing)
    is_outside = not state.items and marker is None
    if is_outside and after_blank and _column(rest) >= _CODE_INDENT:
        code = MarkdownLine(rest, style="code", first=inner, rest=inner)
        return code, replace(state, after_blank=True)
    cells = _cells(rest) if len(rest) < MAX_ROW_CHARACTERS else ()
    if len(cells) > 1 and marker is None:
        state = replace(state, head=cells)
    text = rest.lstrip() if state.items or marker else rest
    shown = _text(text, first, "quote" if quotes else "", is_complete)
    return replace(shown, rest=inner), state


def _text(text: str, prefix: Prefix, style: str, is_complete: bool) -> MarkdownLine:
    if not is_complete:
        text = close_open_marks(text)
    shown, spans = read_inline(text.rstrip())
    return MarkdownLine(shown, spans, style, prefix, prefix)


def _formula(text: str, prefix: Prefix) -> MarkdownLine:
    return MarkdownLine(text, (Span(0, len(text), "formula"),), first=prefix, rest=prefix)


def _item(
    match: re.Match[str], state: LineState, prefix: Prefix, quotes: int, is_complete: bool
) -> Parsed:
    column = _column(match[1])
    items = tuple(item for item in state.items if item.column + 2 <= column)
    indent = items[-1].content if items else 0
    marker, text = match[2], match[3] or ""
    if not text and not is_complete and not marker[0].isdigit():
        return None, state
    if marker in "-*+":
        marker = _BULLETS[min(len(items), len(_BULLETS) - 1)]
        if task := _TASK.match(text):
            marker, text = "☐" if task[1] == " " else "☑", text[task.end() :]
    marker += " "
    content = indent + len(marker)
    if len(items) < MAX_DEPTH:
        items = (*items, ListItem(column, content))
    first: Prefix = ((" " * indent, ""), (marker, "marker"))
    after = replace(state, items=items)
    return _in_item(text, after, prefix, content, quotes, False, is_complete, first)


def _in_fence(rest: str, state: LineState, fence: CodeFence, is_complete: bool) -> Parsed:
    stripped = rest.strip()
    is_mark = stripped and stripped == fence.mark[0] * len(stripped)
    if is_mark and len(stripped) >= len(fence.mark):
        return None, LineState(items=state.items, after_blank=False)
    if is_mark and not is_complete:
        return None, state
    blanks = len(rest) - len(rest.lstrip(" "))
    code = rest[min(blanks, fence.column) :]
    spans, lexer = colour_line(code, fence.language, fence.lexer)
    after = replace(state, fence=replace(fence, lexer=lexer))
    return MarkdownLine(code, spans, "code", fence.prefix, fence.prefix), after


def _table_row(rest: str, state: LineState, is_complete: bool) -> Parsed | None:
    """Parse the line as the next row of a table; None if it is not one."""
    after = LineState(state.fence, state.items, head=state.head, in_table=True, after_blank=False)
    if state.in_table:
        if "|" not in rest:
            return None
        cells = _cells(rest)[: len(state.head)]
        if not is_complete:
            cells = (*cells[:-1], close_open_marks(cells[-1]))
        return TableRow(cells + ("",) * (len(state.head) - len(cells))), after
    if _DELIMITERS.match(rest) and is_complete:
        marks = _cells(rest)
        if len(marks) != len(state.head) or not all(marks):
            return None
        alignments: tuple[Alignment, ...] = tuple(
            ("center" if mark[0] == ":" else "right") if mark[-1] == ":" else "left"
            for mark in marks
        )
        return TableRow((), alignments), after
    if not is_complete and _BEGINS_DELIMITERS.match(rest):
        return None, state
    return None


def _cells(text: str) -> tuple[str, ...]:
    """Return the cells of a table row; one for a line without "|"."""
    inside = text.strip().removeprefix("|")
    cells = _CELL_END.split(inside)
    if len(cells) > 1 and not cells[-1].strip():
        cells.pop()
    elif inside != text.strip() and len(cells) == 1:
        cells.append("")
    return tuple(cell.strip().replace("\\|", "|") for cell in cells)


def _column(text: str) -> int:
    """Return the column of the first character that is not a blank."""
    blanks = text[: len(text) - len(text.lstrip(" \t"))]
    return len(blanks.expandtabs(_CODE_INDENT))
