"""Both languages have the same keys, and every key exists and is used."""

from __future__ import annotations

import ast
import gc
import re
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import chatui
from chatui import locales

PACKAGE = Path(chatui.__file__).parent
FILES = sorted(file.stem for file in (PACKAGE / "locales" / "en").glob("*.toml"))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_files() -> None:
    assert sorted(file.stem for file in (PACKAGE / "locales" / "zh").glob("*.toml")) == FILES


@pytest.mark.parametrize("file", FILES)
def test_both_languages_have_the_same_keys_and_placeholders(file: str) -> None:
    english, chinese = locales._words("en", file), locales._words("zh", file)

    assert set(english) == set(chinese)
    different = [key for key in english if placeholders(english[key]) != placeholders(chinese[key])]
    assert different == []


@pytest.mark.parametrize("file", FILES)
def test_no_sentence_is_empty(file: str) -> None:
    for language in locales.LANGUAGES:
        assert [key for key, text in locales._words(language, file).items() if not text] == []


@cache
def nodes() -> tuple[tuple[Path, ast.AST], ...]:
    """Return (file, node) for all syntax nodes of the package."""
    found = []
    # Garbage collection during parsing is slow and finds nothing.
    gc.disable()
    for file in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [(file.relative_to(PACKAGE), node) for node in ast.walk(tree)]
    gc.enable()
    return tuple(found)


def said_keys() -> Iterator[tuple[str, str, set[str] | None]]:
    """Yield (place, key, value names) of each ``say("…")`` and ``hint("…")`` in the package.

    The names are None for a call with ``**values``.
    """
    for file, node in nodes():
        if (
            isinstance(node, ast.Call)
            and (getattr(node.func, "id", "") == "say" or getattr(node.func, "attr", "") == "hint")
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            names = {keyword.arg for keyword in node.keywords}
            known = {name for name in names if name is not None}
            key = str(node.args[0].value)
            yield f"{file}:{node.lineno}", key, None if None in names else known


def test_every_used_key_exists_and_gets_its_values() -> None:
    found = list(said_keys())
    wrong = []
    for where, key, names in found:
        file, _, name = key.partition(".")
        try:
            text = locales._words("en", file)[name]
        except (KeyError, FileNotFoundError):
            wrong.append(f"{where}: no words for {key}")
            continue
        if names is not None and not placeholders(text) <= names:
            wrong.append(f"{where}: {key} needs {placeholders(text) - names}")

    assert wrong == []
    assert len(found) > 30


def test_every_key_is_used() -> None:
    """A key is a string in the code, or matches an f-string filled with names from the code."""
    whole: set[str] = set()
    names: set[str] = set()
    patterns: list[re.Pattern[str]] = []
    for _, node in nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int):
            whole.add(str(node.value))
            names |= {str(node.value).lower(), str(node.value).lstrip("-").replace("-", "_")}
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.JoinedStr):
            parts = [
                re.escape(part.value) if isinstance(part, ast.Constant) else "([^.]+)"
                for part in node.values
            ]
            if any("." in part and re.search("[a-z]", part) for part in parts if part[0] != "("):
                patterns.append(re.compile("".join(parts)))

    def is_said(key: str) -> bool:
        found = (pattern.fullmatch(key) for pattern in patterns)
        return key in whole or any(match and names.issuperset(match.groups()) for match in found)

    keys = [f"{file}.{name}" for file in FILES for name in locales._words("en", file)]
    assert [key for key in keys if not is_said(key)] == []


def test_user_errors_are_translated() -> None:
    """The sentence of a ChatuiError comes from ``say``, not from a string in the code."""
    kinds = ("ChatuiError", "UsageError", "ArgumentTypeError", "BackendLost")
    wrong = [
        f"{file}:{node.lineno}"
        for file, node in nodes()
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(kinds)
        and isinstance(node.args[0], ast.Constant | ast.JoinedStr)
    ]
    assert wrong == []
