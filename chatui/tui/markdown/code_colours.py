"""Colours of code, one line at a time: Pygments' lexers, gone on with from line to line."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from chatui.tui.wrapping import Span

LONGEST_LINE = 500
"""A longer line stays without colours: some lexers take quadratic time."""

LexerState = tuple[str, ...]
"""The states that a lexer is in, the innermost one last."""

START: LexerState = ("root",)

_COMMENT = "/*"
"""Innermost state of ours: inside such a comment."""

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
"""Pygments' kinds of tokens -> our few; the first that fits."""


def colour_line(line: str, language: str, state: LexerState) -> tuple[tuple[Span, ...], LexerState]:
    """The coloured parts of a line of code, and the state in which the next line begins."""
    lexer = _lexer(language[:40].lower())
    if lexer is None or len(line) > LONGEST_LINE:
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
        # A lexer's own callbacks may want all of the text; then this line stays plain.
        return (), START
    for at, kind, text in tokens:
        begins = line.startswith("/*", at) and "*/" not in line[at + 2 :]
        if begins and "String" not in str(kind) and _has_long_comments(lexer):
            # The lexer knows a comment by its end, which stands in a later line.
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
    """Whether a comment from ``/*`` to ``*/`` over several lines is one token of the lexer."""
    tokens = lexer.get_tokens_unprocessed("/* a\nb */\n")
    return any(
        "Comment" in str(kind) and text[:2] == "/*" and "\n" in text for _, kind, text in tokens
    )


@lru_cache(maxsize=256)
def _style(kind: str) -> str:
    name = kind.removeprefix("Token.")
    return next((style for start, style in _STYLES if name.startswith(start)), "")


@cache
def _places() -> dict[str, tuple[str, str]]:
    """The lexers that come with Pygments by their short names: (module, class)."""
    from pygments.lexers._mapping import LEXERS

    return {
        alias: (module, class_name)
        for class_name, (module, _, aliases, _, _) in LEXERS.items()
        for alias in aliases
    }


@lru_cache(maxsize=64)
def _lexer(language: str) -> Any:
    """Pygments' lexer for a language; None for one that it does not know."""
    place = _places().get(language)
    if place is None:
        return None
    from importlib import import_module

    return getattr(import_module(place[0]), place[1])()
