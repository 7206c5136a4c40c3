"""The end of a line that is still being written: shown as it will probably stand.

Without this a mark would be seen until its other half came, and the line would jump.
"""

from __future__ import annotations

import re

_ONLY_MARKS = re.compile(r"\s*(?:#{1,6}|[-*+]+|_+|`{1,2}|~{1,2})\s*")
_LAST_MARKS = re.compile(r"(?<!\\)[*_`~]+$|\[!?$|!\[?$")
_MARK = re.compile(r"\\.|`+|\*{1,3}|_{1,3}|~~")
_OPEN_LINK = re.compile(r"\]\([^()\s]*$")


def close_open_marks(line: str) -> str:
    """``line`` without marks whose sense is not known yet, and with open marks closed."""
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
        elif position < len(line) and not line[position].isspace() and _begins(line, match.start()):
            open_marks.append(mark)
    return "".join(reversed(open_marks))


def _begins(line: str, start: int) -> bool:
    """Whether marks may open here: not inside a word of Latin letters or digits."""
    return line[start] != "_" or not line[start - 1 : start].isalnum()
