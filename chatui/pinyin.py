"""Chinese found by its sound: 翻译 by ``fanyi``, by ``fy``, and by their beginnings."""

from __future__ import annotations

from functools import lru_cache


def prepare() -> None:
    """Load the dictionary, which takes a tenth of a second: in a thread, before it is needed."""
    _spelled("")


@lru_cache(4096)
def _spelled(text: str) -> tuple[str, str]:
    """The sounds of all hanzi joined, and their first letters; other characters as they are."""
    from pypinyin import lazy_pinyin

    sounds = lazy_pinyin(text)
    return "".join(sounds), "".join(sound[:1] for sound in sounds)


def begins_with(text: str, typed: str) -> bool:
    """Whether ``text`` begins with what was typed, as it is written or by its sound."""
    text, typed = text.casefold(), typed.casefold()
    if text.startswith(typed):
        return True
    if not typed.isascii() or text.isascii():
        return False
    return any(spelling.startswith(typed) for spelling in _spelled(text))


def contains(text: str, typed: str) -> bool:
    """Whether ``typed`` stands somewhere in ``text``, as it is written or by its sound."""
    text, typed = text.casefold(), typed.casefold()
    if typed in text:
        return True
    if not typed.isascii() or text.isascii():
        return False
    return any(typed in spelling for spelling in _spelled(text))
