"""Finding formats by name, chatui's own and those of other packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chatui.errors import ChatuiError
from chatui.prompting import formats
from chatui.prompting.format import PromptFormat

OUTSIDER = """
from chatui.prompting.format import PromptFormat

UPPER = PromptFormat(name="upper", render=lambda history, query, system: query.upper())
WRONG = "no format"
"""


@pytest.fixture
def outsider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with a format, as seen by importlib.metadata."""
    (tmp_path / "someone_elses.py").write_text(OUTSIDER)
    info = tmp_path / "someone_elses-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: someone-elses\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[chatui.formats]\nupper = someone_elses:UPPER\nwrong = someone_elses:WRONG\n"
        "absent = someone_elses:ABSENT\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "someone_elses", raising=False)


def test_every_listed_format_is_found() -> None:
    assert "shiyou" in formats.names()
    for name in formats.names():
        found = formats.get(name)
        assert isinstance(found, PromptFormat)
        assert found.name == name
        assert found.source


@pytest.mark.parametrize(("name", "near"), [("shiyo", "shiyou"), ("gpt2_chinese", "gpt2-chinese")])
def test_the_nearest_names_are_offered(name: str, near: str) -> None:
    with pytest.raises(ChatuiError, match=near):
        formats.get(name)


@pytest.mark.parametrize("name", ["", "zzzz", "../shiyou", "你好", "__init__", "a b"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ChatuiError, match="no prompt format"):
        formats.get(name)


def test_chat_template_is_not_a_format() -> None:
    with pytest.raises(ChatuiError, match="chat-template"):
        formats.get("chat-template")


@pytest.mark.usefixtures("outsider")
def test_another_packages_format_is_found() -> None:
    assert formats.get("upper").render([], "hi", None) == "HI"
    assert "upper" in formats.names()


@pytest.mark.usefixtures("outsider")
@pytest.mark.parametrize("name", ["wrong", "absent"])
def test_errors_in_another_packages_format_are_reported(name: str) -> None:
    with pytest.raises(ChatuiError, match=name):
        formats.get(name)
