"""The four regular forms, the layout of a reply, and the checkers of both.

A poem reply is ``《title》``, then one couplet a line: ``床前明月光，疑是地上霜。``. A continuation
(续写) and an acrostic (藏头诗) have the couplets alone, without a title line.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """A regular form: ``n_lines`` verse lines of ``n_chars`` characters each."""

    n_chars: int
    n_lines: int

    @property
    def name(self) -> str:
        """The full Chinese name, such as 五言绝句."""
        return self.length_name + self.kind_name

    @property
    def length_name(self) -> str:
        return "五言" if self.n_chars == 5 else "七言"

    @property
    def kind_name(self) -> str:
        return "绝句" if self.n_lines == 4 else "律诗"

    @property
    def short_name(self) -> str:
        """The short Chinese name, such as 五绝."""
        return self.length_name[0] + self.kind_name[0]


FORMS = (Form(5, 4), Form(7, 4), Form(5, 8), Form(7, 8))

_HAN = r"[\u3400-\u9fff\u3007]"
_TITLE = re.compile(r"《([^《》\n]+)》\n")


def couplets(lines: list[str] | tuple[str, ...]) -> str:
    """Lay verse lines out, two to a text line; an odd last one stands alone."""
    rows = ["，".join(lines[i : i + 2]) + "。" for i in range(0, len(lines), 2)]
    return "\n".join(rows)


def verse_lines(text: str) -> list[str] | None:
    """The verse lines of a laid-out text, or None where the layout is broken."""
    lines: list[str] = []
    rows = text.split("\n")
    for i, row in enumerate(rows):
        match = re.fullmatch(rf"({_HAN}+)(?:，({_HAN}+))?。", row)
        if match is None or (match[2] is None and i < len(rows) - 1):
            return None
        lines += [part for part in match.groups() if part is not None]
    return lines


def split_title(reply: str) -> tuple[str | None, str]:
    """The title between 《》 on the first line (None without one) and the rest."""
    match = _TITLE.match(reply)
    return (match[1], reply[match.end() :]) if match else (None, reply)


def form_of(lines: list[str] | None) -> Form | None:
    """The regular form of verse lines, or None."""
    if not lines:
        return None
    form = Form(len(lines[0]), len(lines))
    if form in FORMS and all(len(line) == form.n_chars for line in lines):
        return form
    return None


def is_poem(reply: str, form: Form | None = None, title: str | None = None) -> bool:
    """Whether a reply is a titled poem in a regular form (that form and title, where given)."""
    found_title, body = split_title(reply)
    found = form_of(verse_lines(body))
    return (
        found_title is not None
        and found is not None
        and form in (None, found)
        and title in (None, found_title)
    )


def is_continuation(reply: str, given: list[str] | tuple[str, ...]) -> bool:
    """Whether a reply is a regular poem that opens with the given verse lines."""
    lines = verse_lines(reply)
    return form_of(lines) is not None and (lines or [])[: len(given)] == list(given)


def is_verse(reply: str, n_lines: int) -> bool:
    """Whether a reply is ``n_lines`` verse lines, all of five or all of seven characters."""
    lines = verse_lines(reply)
    if lines is None or len(lines) != n_lines:
        return False
    return len(lines[0]) in (5, 7) and len({len(line) for line in lines}) == 1


def is_acrostic(reply: str, heads: str) -> bool:
    """Whether every verse line starts with its given character, in the right layout."""
    lines = verse_lines(reply) or []
    return is_verse(reply, len(heads)) and "".join(line[0] for line in lines) == heads
