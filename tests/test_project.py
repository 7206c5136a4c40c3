"""The project's own files: the pages of both languages say the same, and say what is there."""

from __future__ import annotations

import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from chatui import settings
from chatui.cli.commands import COMMANDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
READMES = ("README.md", "README.zh-CN.md")
USAGES = ("docs/usage.md", "docs/usage.zh-CN.md")
BENCHMARKS = ("docs/benchmarks.md", "docs/benchmarks.zh-CN.md")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def outline(text: str) -> list[tuple[str, int]]:
    """Headings, code blocks and tables in their order; a table with its number of rows."""
    found: list[tuple[str, int]] = []
    for block in re.split(r"\n\s*\n", re.sub(r"```.*?```", "```", text, flags=re.DOTALL)):
        first = block.lstrip().split("\n")[0]
        kind = re.match(r"#+|```|\||- |!\[", first)
        if kind:
            found.append((kind[0], block.count("\n") if kind[0] == "|" else 0))
    return found


@pytest.mark.parametrize("names", [READMES, USAGES, BENCHMARKS])
def test_both_languages_have_the_same_outline(names: tuple[str, str]) -> None:
    english, chinese = map(text_of, names)
    assert outline(english) == outline(chinese)
    options = re.compile(r"--[a-z][a-z-]+")
    assert set(options.findall(english)) == set(options.findall(chinese))


@pytest.mark.parametrize("name", READMES)
def test_a_readme_starts_with_the_two_commands(name: str) -> None:
    assert re.match(r"# chatui\n\n\[.*\]\(.*\)\n\n```\nmake run .*\nmake test ", text_of(name))


@pytest.mark.parametrize("name", USAGES)
def test_every_setting_is_named_with_its_default(name: str) -> None:
    block = re.search(r"```toml\n(.*?)```", text_of(name), re.DOTALL)
    assert block
    shown = tomllib.loads(block[1])
    tables = ["sampling", "servers"]
    names = settings.Settings.__struct_fields__
    assert list(shown) == [*(name for name in names if name not in tables), *tables]
    assert tuple(shown["servers"][0]) == settings.Server.__struct_fields__
    defaults = settings.Settings()
    for key, value in shown.items():
        if key not in tables:
            expected = getattr(defaults, key)
            assert value == (list(expected) if isinstance(expected, tuple) else expected)


@pytest.mark.parametrize("name", READMES)
def test_a_readme_names_every_verb(name: str) -> None:
    text = text_of(name)
    assert [name for name in COMMANDS if f"chatui {name}" not in text] == []


@pytest.mark.parametrize("name", USAGES)
def test_every_option_of_ask_is_named(name: str) -> None:
    text = text_of(name)
    options = COMMANDS["ask"].options
    named = [name for each in options for name in each.names if name.startswith("-")]
    assert len(named) > 20
    assert [option for option in named if option not in text] == []


@pytest.mark.parametrize("name", [*READMES, *USAGES, *BENCHMARKS, "CONTRIBUTING.md"])
def test_links_lead_somewhere(name: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)[)#]", text_of(name))
    folder = (ROOT / name).parent
    assert [target for target in targets if not (folder / target).exists()] == []


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for name in (*READMES, "CONTRIBUTING.md"):
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text_of(name), re.MULTILINE)) <= targets


def test_no_circle_of_imports() -> None:
    """Inside functions, too."""
    import grimp

    graph = grimp.build_graph("chatui", exclude_type_checking_imports=True, cache_dir=None)
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imported).prepare()


def test_the_tested_versions_satisfy_what_is_asked_for() -> None:
    from packaging.requirements import Requirement
    from packaging.version import Version

    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    pinned: dict[str, list[str]] = {}
    for line in text_of("constraints.txt").splitlines():
        if not line.startswith("#"):
            pin = Requirement(line)
            assert str(pin.specifier).startswith("=="), line
            pinned.setdefault(canonical(pin.name), []).append(str(pin.specifier)[2:])
    for asked in map(
        Requirement, (*project["dependencies"], *project["optional-dependencies"]["test"])
    ):
        versions = pinned[canonical(asked.name)]
        assert all(asked.specifier.contains(Version(version)) for version in versions), asked


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
