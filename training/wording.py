"""Templates of requests, one per line in training/words.

``{t}`` is a title, ``{f}`` the name of a form, ``{n}`` the name of a line length, ``{g}`` the given
line or couplet, ``{h}`` the given characters. Repeated lines are chosen more often.
"""

from pathlib import Path

WORDS = Path(__file__).parent / "words"


def words(name: str) -> list[str]:
    """Return the lines of a word list."""
    return (WORDS / f"{name}.txt").read_text(encoding="utf-8").splitlines()


TITLE_AND_FORM = words("title_and_form")
TITLE = words("title")
FORM = words("form")
ANY = words("any")
CONTINUE = words("continue")
CONTINUE_FORM = words("continue_form")
ACROSTIC = words("acrostic")
ACROSTIC_LENGTH = words("acrostic_length")
AGAIN = words("again")
TO_LENGTH = words("to_length")
TO_FORM = words("to_form")
TO_LONGER = words("to_longer")
TO_SHORTER = words("to_shorter")
TO_TITLE = words("to_title")
TO_HEADS = words("to_heads")

PHRASES = words("phrases")
"""Common words for acrostics."""

THEMES = dict(line.partition("\t")[::2] for line in words("themes"))
"""Words for finding poems on a modern theme, the most specific first, by theme."""

LENGTH_NAMES = {
    5: ["五言", "五言", "五言", "五个字", "五字", "每句五个字", "5言"],
    7: ["七言", "七言", "七言", "七个字", "七字", "每句七个字", "7言"],
}
KIND_NAMES = {4: ["绝句", "绝句", "绝句", "四句"], 8: ["律诗", "律诗", "律诗", "八句"]}
