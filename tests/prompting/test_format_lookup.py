"""Formats are found by name, ours and outsiders'."""

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
    """A package of someone else's, installed as far as Python can tell."""
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


def test_every_name_is_found_and_is_the_formats_own() -> None:
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
def test_a_name_like_none_is_refused(name: str) -> None:
    with pytest.raises(ChatuiError, match="no prompt format"):
        formats.get(name)


def test_the_chat_template_is_the_models_own() -> None:
    with pytest.raises(ChatuiError, match="chat-template"):
        formats.get("chat-template")


@pytest.mark.usefixtures("outsider")
def test_an_outsiders_format_is_found() -> None:
    assert formats.get("upper").render([], "hi", None) == "HI"
    assert "upper" in formats.names()


@pytest.mark.usefixtures("outsider")
@pytest.mark.parametrize("name", ["wrong", "absent"])
def test_an_outsiders_mistake_is_named(name: str) -> None:
    with pytest.raises(ChatuiError, match=name):
        formats.get(name)
