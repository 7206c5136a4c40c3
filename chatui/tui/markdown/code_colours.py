"""Highlight code one line at a time, by keeping the state of Pygments' lexers between lines."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from chatui.tui.wrapping import Span

MAX_LINE_CHARACTERS = 500
"""Longer lines are not highlighted, because some lexers take quadratic time."""

LexerState = tuple[str, ...]
"""The stack of a lexer's states, the innermost last."""

START: LexerState = ("root",)

_COMMENT = "/*"
"""An additional innermost state: inside a comment of several lines."""

_STYLES = (
    ("Comment", "comment"),
    ("Literal.String", "string"),
    ("Literal", "number"),
    ("Keyword", "keyword"),
    ("Operator.Word", "keyword"),
    ("Name.Function", "name"),
    ("Name.Class", "name"),
    ("Name.Tag", "keyword"),
    ("Name.Decorator", "name"),
    ("Name.Builtin", "name"),
    ("Generic.Deleted", "number"),
    ("Generic.Inserted", "string"),
    ("Generic.Heading", "name"),
)
"""Prefix of a Pygments token type -> style; the first match is used."""


def colour_line(line: str, language: str, state: LexerState) -> tuple[tuple[Span, ...], LexerState]:
    """Return the coloured spans of a line of code, and the lexer's state for the next line."""
    lexer = _lexer(language[:40].lower())
    if lexer is None or len(line) > MAX_LINE_CHARACTERS:
        return (), state
    spans: list[Span] = []
    start = 0
    if state[-1] == _COMMENT:
        start = line.find("*/") + 2
        if start < 2:
            return ((Span(0, len(line), "comment"),) if line else ()), state
        spans.append(Span(0, start, "comment"))
        state = state[:-1]
    try:
        tokens, state = _tokens(lexer, line + "\n", start, state)
    except Exception:
        # Some lexers' callbacks need the whole text; the line then stays plain.
        return (), START
    for at, kind, text in tokens:
        begins = line.startswith("/*", at) and "*/" not in line[at + 2 :]
        if begins and "String" not in str(kind) and _has_long_comments(lexer):
            # The lexer does not recognise a comment whose end is in a later line.
            return (*spans, Span(at, len(line), "comment")), (*state, _COMMENT)
        if (name := _style(str(kind))) and text.strip():
            spans.append(Span(at, min(at + len(text), len(line)), name))
    return tuple(spans), state


def _tokens(
    lexer: Any, text: str, start: int, state: LexerState
) -> tuple[list[tuple[int, Any, str]], LexerState]:
    from pygments.lexer import ExtendedRegexLexer, LexerContext, RegexLexer

    if isinstance(lexer, RegexLexer) and not isinstance(lexer, ExtendedRegexLexer):
        context = LexerContext(text, start, list(state))
        tokens = list(ExtendedRegexLexer.get_tokens_unprocessed(lexer, context=context))
        return tokens, tuple(context.stack)
    found = lexer.get_tokens_unprocessed(text[start:])
    return [(start + at, kind, token) for at, kind, token in found], state


@cache
def _has_long_comments(lexer: Any) -> bool:
    """True if the lexer reads a comment from ``/*`` to ``*/`` over several lines as one token."""
    tokens = lexer.get_tokens_unprocessed("/* a\nb */\n")
    return any(
        "Comment" in str(kind) and text[:2] == "/*" and "\n" in text for _, kind, text in tokens
    )


@lru_cache(maxsize=256)
def _style(kind: str) -> str:
    name = kind.removeprefix("Token.")
    return next((style for start, style in _STYLES if name.startswith(start)), "")


@lru_cache(maxsize=64)
def _lexer(language: str) -> Any:
    """Return Pygments' lexer for a language; None if it has none."""
    from pygments.lexers import LEXERS, find_lexer_class

    # Unlike get_lexer_by_name, this does not search all installed packages for an unknown name.
    names = (name for _, name, aliases, _, _ in LEXERS.values() if language in aliases)
    name = next(names, "")
    return find_lexer_class(name)() if name else None
