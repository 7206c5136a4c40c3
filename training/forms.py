"""The four regular forms, the layout of replies, and checks of both.

A poem is ``《title》``, then one couplet per line: ``床前明月光，疑是地上霜。``. A continuation
(续写) and an acrostic (藏头诗) have no title line.
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
    """Return verse lines as text, two per line; an odd last one has its own line."""
    rows = ["，".join(lines[i : i + 2]) + "。" for i in range(0, len(lines), 2)]
    return "\n".join(rows)


def verse_lines(text: str) -> list[str] | None:
    """Return the verse lines of a text, or None if the layout is wrong."""
    lines: list[str] = []
    rows = text.split("\n")
    for i, row in enumerate(rows):
        match = re.fullmatch(rf"({_HAN}+)(?:，({_HAN}+))?。", row)
        if match is None or (match[2] is None and i < len(rows) - 1):
            return None
        lines += [part for part in match.groups() if part is not None]
    return lines


def split_title(reply: str) -> tuple[str | None, str]:
    """Return the title in 《》 on the first line, or None, and the rest."""
    match = _TITLE.match(reply)
    return (match[1], reply[match.end() :]) if match else (None, reply)


def form_of(lines: list[str] | None) -> Form | None:
    """Return the regular form of verse lines, or None."""
    if not lines:
        return None
    form = Form(len(lines[0]), len(lines))
    if form in FORMS and all(len(line) == form.n_chars for line in lines):
        return form
    return None


def is_poem(reply: str, form: Form | None = None, title: str | None = None) -> bool:
    """True if a reply is a titled poem in a regular form, with the given form and title if any."""
    found_title, body = split_title(reply)
    found = form_of(verse_lines(body))
    return (
        found_title is not None
        and found is not None
        and form in (None, found)
        and title in (None, found_title)
    )


def is_continuation(reply: str, given: list[str] | tuple[str, ...]) -> bool:
    """True if a reply is a regular poem that begins with the given verse lines."""
    lines = verse_lines(reply)
    return form_of(lines) is not None and (lines or [])[: len(given)] == list(given)


def is_verse(reply: str, n_lines: int) -> bool:
    """True if a reply is ``n_lines`` verse lines, all of five or all of seven characters."""
    lines = verse_lines(reply)
    if lines is None or len(lines) != n_lines:
        return False
    return len(lines[0]) in (5, 7) and len({len(line) for line in lines}) == 1


def is_acrostic(reply: str, heads: str) -> bool:
    """True if every verse line starts with its given character, in the right layout."""
    lines = verse_lines(reply) or []
    return is_verse(reply, len(heads)) and "".join(line[0] for line in lines) == heads
