"""Parse the markup inside one line: emphasis, code, links, formulas.

markdown-it applies CommonMark's rules, with two changes: emphasis may open and close next to
Chinese characters and punctuation, and formulas are kept as written.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from chatui.tui.wrapping import Span

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline

MAX_MARKS = 200
"""Lines with more possible marks are shown as text, because parsing them takes too long."""

_MARKS = re.compile(r"[*_`~\[\]<&\\!$]")
_FORMULA = re.compile(
    r"\$\$.+?\$\$"
    r"|\$(?=\S)[^$\n]*?(?<=[^\s\\])\$(?!\d)"
    r"|\\\(.+?\\\)"
    r"|\\\[.+?\\\]"
)
_ONLY_MARKS = re.compile(r"\s*(?:#{1,6}|[-*+]+|_+|`{1,2}|~{1,2})\s*")
_LAST_MARKS = re.compile(r"(?<!\\)[*_`~]+$|\[!?$|!\[?$")
_MARK_RUN = re.compile(r"\\.|`+|\*{1,3}|_{1,3}|~~")
_OPEN_LINK = re.compile(r"\]\([^()\s]*$")

_STYLES = {"strong": "strong", "em": "emphasis", "s": "struck", "link": "link"}
_LEAF_STYLES = {"code_inline": "code", "formula": "formula"}


def read_inline(text: str) -> tuple[str, tuple[Span, ...]]:
    """Return the shown text of a line, without marks, and the spans with a style.

    The target of a link or an image follows its text in parentheses.
    """
    if not 0 < len(_MARKS.findall(text)) <= MAX_MARKS:
        return text, ()
    shown: list[str] = []
    spans: list[Span] = []
    styles: list[str] = []
    links: list[tuple[str, int]] = []
    length = 0

    def show(content: str, style: str) -> None:
        nonlocal length
        if content:
            shown.append(content)
            if names := " ".join((*styles, style)).strip():
                spans.append(Span(length, length + len(content), names))
            length += len(content)

    for token in _tokens(text):
        name = _STYLES.get(token.type.rpartition("_")[0], "")
        if name and token.nesting > 0:
            styles.append(name)
            if name == "link":
                links.append((str(token.attrs.get("href", "")), len(shown)))
        elif name:
            styles.remove(name)
            if name == "link":
                target, first = links.pop()
                if "".join(shown[first:]) not in (target, target.removeprefix("mailto:")):
                    show(f" ({target})", "target")
        elif token.type == "image":
            show(token.content, "link")
            show(f" ({token.attrs.get('src', '')})", "target")
        else:
            show(token.content, _LEAF_STYLES.get(token.type, ""))
    return "".join(shown), tuple(spans)


def _tokens(text: str) -> list[Any]:
    parser, state_class = load_parser()
    tokens: list[Any] = []
    state = state_class(text, parser, {}, tokens)
    parser.inline.tokenize(state)
    for rule in parser.inline.ruler2.getRules(""):
        rule(state)
    return tokens


@cache
def load_parser() -> tuple[MarkdownIt, type[StateInline]]:
    """Return the parser and its state; the first call takes some tens of milliseconds."""
    from markdown_it import MarkdownIt
    from markdown_it.rules_inline import StateInline
    from markdown_it.rules_inline.state_inline import Scanned

    class ChineseInline(StateInline):
        """Parses runs of ``*`` and ``_`` by CommonMark's rules, extended for Chinese.

        In CommonMark, ``**重点：**然后`` is not emphasis, because a closing run may not be between
        punctuation and a letter. Here, a Chinese character on either side is enough.
        """

        def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
            marker, end = self.src[start], start
            while end < self.posMax and self.src[end] == marker:
                end += 1
            before = self.src[start - 1] if start else " "
            after = self.src[end] if end < self.posMax else " "
            opens = _may_open(before, after)
            closes = _may_open(after, before)
            if not canSplitWord:
                opens, closes = (
                    opens and (not closes or _is_punctuation(before)),
                    closes and (not opens or _is_punctuation(after)),
                )
            return Scanned(opens, closes, end - start)

    parser = MarkdownIt("commonmark", {"html": False}).enable("strikethrough")
    parser.inline.ruler.before("escape", "formula", _formula)
    # The target of a link is shown as written.
    parser.normalizeLink = lambda url: url  # type: ignore[method-assign]
    return parser, ChineseInline


def _may_open(outside: str, inside: str) -> bool:
    """True if emphasis may open between two characters, or close if they are swapped."""
    if inside.isspace():
        return False
    return (
        not _is_punctuation(inside)
        or outside.isspace()
        or _is_punctuation(outside)
        or _is_chinese(outside)
        or _is_chinese(inside)
    )


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"


def _is_chinese(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _formula(state: StateInline, silent: bool) -> bool:
    """Parse a formula and keep its marks; an inline rule of markdown-it."""
    if state.src[state.pos] not in "$\\":
        return False
    match = _FORMULA.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("formula", "", 0).content = match[0]
    state.pos = match.end()
    return True


def close_open_marks(line: str) -> str:
    """Close the open marks of an unfinished line, so that it looks as it probably will at its end.

    Otherwise a mark would be visible until its closing mark arrives, and the line would jump. Marks
    at the end that may be incomplete are removed.
    """
    if _ONLY_MARKS.fullmatch(line):
        return ""
    line = _LAST_MARKS.sub("", line).rstrip()
    if _OPEN_LINK.search(line):
        line += ")"
    return line + _missing_marks(line)


def _missing_marks(line: str) -> str:
    open_marks: list[str] = []
    position = 0
    while match := _MARK_RUN.search(line, position):
        mark, position = match[0], match.end()
        if mark[0] == "\\":
            continue
        if mark[0] == "`":
            end = re.compile(f"(?<!`){mark}(?!`)").search(line, position)
            if end is None:
                return mark + "".join(reversed(open_marks))
            position = end.end()
        elif mark in open_marks:
            del open_marks[open_marks.index(mark) :]
        elif line[position : position + 1].strip() and _may_open_at(line, match.start()):
            open_marks.append(mark)
    return "".join(reversed(open_marks))


def _may_open_at(line: str, start: int) -> bool:
    """True if a mark may open at ``start``: "_" inside a word may not."""
    return line[start] != "_" or not line[start - 1 : start].isalnum()
