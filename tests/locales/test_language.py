"""The language of the interface."""

from __future__ import annotations

import errno

import pytest

from chatui.locales import current_language, language_of, say, set_language
from chatui.text import in_quotes


@pytest.mark.parametrize(
    ("environ", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_TW.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANGUAGE": "zh_CN:en", "LANG": "en_US.UTF-8"}, "zh"),
        ({"CHATUI_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
    ],
)
def test_the_language_of_the_environment(environ: dict[str, str], language: str) -> None:
    assert language_of(environ) == language


def test_auto_uses_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATUI_LANG", "zh")
    set_language("auto")
    assert current_language() == "zh"
    assert say("settings.unknown_key", path="p", key="k") == (
        "设置文件 p 中有未知的键“k”；docs/usage.zh-CN.md 列出了全部的键。"
    )


def test_quoted_user_text_has_no_control_characters() -> None:
    assert in_quotes("我的 model") == "“我的 model”"
    assert in_quotes("C:\\m") == "“C:\\m”"
    assert in_quotes("a\x1b[31m\n\ud800") == "“a␛[31m␊\ufffd”"
    assert len(in_quotes("x" * 10**6)) == 202


def test_a_system_error_is_said_in_the_language() -> None:
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory", "/x")
    unknown = OSError(errno.EXDEV, "Invalid cross-device link")
    set_language("zh")
    assert "（没有这个文件或文件夹）" in say(
        "conversation.file_unreadable", path="x", reason=missing
    )
    assert "Invalid cross-device link" in say("cli.system_refused", reason=unknown)
    set_language("en")
    assert "No such file or directory" in say(
        "conversation.file_unreadable", path="x", reason=missing
    )


def test_a_reason_adds_no_second_full_stop() -> None:
    set_language("en")
    assert say("engine.tokenizer_broken", folder="f", reason="it is odd.").endswith(
        "read: it is odd."
    )


def test_counts_have_singular_and_plural() -> None:
    set_language("en")
    said = [say("tui.conversations.about", when="now", rounds=n) for n in (0, 1, 2)]
    assert said == ["now · 0 rounds", "now · 1 round", "now · 2 rounds"]
    assert say("tui.round.hidden", count="1").startswith("1 more character is not shown")
