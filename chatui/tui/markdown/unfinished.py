"""Close the marks of an unfinished line, so that it looks as it probably will when finished.

Otherwise a mark would be visible until its closing mark arrives, and the line would jump.
"""

from __future__ import annotations

import re

_ONLY_MARKS = re.compile(r"\s*(?:#{1,6}|[-*+]+|_+|`{1,2}|~{1,2})\s*")
_LAST_MARKS = re.compile(r"(?<!\\)[*_`~]+$|\[!?$|!\[?$")
_MARK = re.compile(r"\\.|`+|\*{1,3}|_{1,3}|~~")
_OPEN_LINK = re.compile(r"\]\([^()\s]*$")


def close_open_marks(line: str) -> str:
    """Close the open marks of ``line``, and remove marks at its end that may be incomplete."""
    if _ONLY_MARKS.fullmatch(line):
        return ""
    line = _LAST_MARKS.sub("", line).rstrip()
    if _OPEN_LINK.search(line):
        line += ")"
    return line + _missing_marks(line)


def _missing_marks(line: str) -> str:
    open_marks: list[str] = []
    position = 0
    while match := _MARK.search(line, position):
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
        elif (
            position < len(line) and not line[position].isspace() and _may_open(line, match.start())
        ):
            open_marks.append(mark)
    return "".join(reversed(open_marks))


def _may_open(line: str, start: int) -> bool:
    """True if a mark may open at ``start``: "_" inside a word may not."""
    return line[start] != "_" or not line[start - 1 : start].isalnum()
