"""From arguments to a request."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from pathlib import Path

import pytest

from chatui.cli import parser, values
from chatui.cli.exit_codes import UsageError
from chatui.cli.request import read_history, read_query, sampling_of
from chatui.errors import ChatuiError
from chatui.sampling import SamplingSettings


def sampling(*typed: str, preset: SamplingSettings | None = None) -> SamplingSettings:
    args = parser.build(["ask"]).parse_args(["ask", "春", *typed])
    return sampling_of(args, preset or SamplingSettings())


def test_settings_without_an_option_stay_the_presets() -> None:
    preset = SamplingSettings(temperature=0.7, top_k=40, seed=3, max_new_tokens=9)
    assert sampling(preset=preset) == preset
    assert sampling("--top-k", "0", "--seed", "0", preset=preset) == SamplingSettings(
        temperature=0.7, top_k=0, seed=0, max_new_tokens=9
    )


def test_every_option_reaches_the_settings() -> None:
    assert sampling(
        "--seed", "1", "--greedy", "--temperature", "0.5", "--top-k", "2", "--top-p", "0.3",
        "--min-p", "0.1", "--repetition-penalty", "1.2", "--presence-penalty", "-0.4",
        "--frequency-penalty", "0.6", "--max-new-tokens", "7",
    ) == SamplingSettings(
        seed=1, greedy=True, temperature=0.5, top_k=2, top_p=0.3, min_p=0.1,
        repetition_penalty=1.2, presence_penalty=-0.4, frequency_penalty=0.6, max_new_tokens=7,
    )  # fmt: skip


def test_a_temperature_ends_greedy_and_uniform_choice() -> None:
    even = SamplingSettings(top_k=10, uniform_top_k=True)
    assert not sampling("--temperature", "0.7", preset=even).uniform_top_k
    assert sampling("--top-k", "5", preset=even) == SamplingSettings(top_k=5, uniform_top_k=True)
    assert not sampling("--temperature", "1", preset=SamplingSettings(greedy=True)).greedy


def test_an_adapter_has_a_path_and_a_scale(tmp_path: Path) -> None:
    at = tmp_path / "a@0.5"
    at.mkdir()
    found = [values.adapter(text) for text in ("a/b", "a/b@0.5", "a@b", "a@b@2", str(at))]
    assert [(one.path, one.scale) for one in found] == [
        ("a/b", 1.0),
        ("a/b", 0.5),
        ("a@b", 1.0),
        ("a@b", 2.0),
        (str(at), 1.0),
    ]


@pytest.mark.parametrize("text", ["", "@1", " @1", "a@nan", "a@inf"])
def test_a_wrong_adapter_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        values.adapter(text)


class Input(io.TextIOWrapper):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))


@pytest.mark.parametrize(
    ("data", "query"),
    [
        (b"a\nb\r\n\n", "a\nb"),
        (b"\xef\xbb\xbf  a ", "  a "),
        (b"a\x00\x1b[1m", "a\x00\x1b[1m"),
        ("春\n".encode(), "春"),
        ("\ufeff春眠".encode("utf-16-le"), "春眠"),
        ("\ufeff春眠".encode("utf-16-be"), "春眠"),
    ],
)
def test_a_query_from_standard_input(
    data: bytes, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for argument in (None, "-"):
        monkeypatch.setattr(sys, "stdin", Input(data))
        assert read_query(argument) == query
    assert read_query("typed") == "typed"


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "big5", "utf-16-le", "shift_jis"])
def test_another_encoding_is_reported_and_can_be_named(
    encoding: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    data = "春眠不覚暁".replace("覚暁", "" if encoding == "shift_jis" else "覺曉").encode(encoding)
    monkeypatch.setattr(sys, "stdin", Input(data))
    with pytest.raises(ChatuiError, match=r"Standard input is not UTF-8 text; .*--encoding gbk"):
        read_query(None)
    monkeypatch.setattr(sys, "stdin", Input(data))
    assert read_query(None, encoding) == data.decode(encoding)
    # An argument in another encoding reaches Python as lone surrogates.
    assert read_query(os.fsdecode(data), encoding) == data.decode(encoding)
    file = tmp_path / "history.json"
    file.write_bytes('[["春", "眠"]]'.encode(encoding))
    assert read_history(str(file), encoding) == (("春", "眠"),)
    if encoding != "utf-16-le":
        with pytest.raises(ChatuiError, match=r"history.json is not UTF-8 text; .*--encoding gbk"):
            read_history(str(file))


def test_gbk_accepts_all_characters_of_gb18030(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Input("㐀𠮷".encode("gb18030")))
    assert read_query(None, "GBK") == "㐀𠮷"


@pytest.mark.parametrize(
    ("data", "encoding"), [("春".encode(), "ascii"), ("春".encode("gbk")[:1], "gbk"),
                           (b"\xff\xfea", None)]
)  # fmt: skip
def test_text_in_another_encoding_is_one_sentence(
    data: bytes, encoding: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Input(data))
    with pytest.raises(ChatuiError, match=r"Standard input is not .* text; check --encoding\."):
        read_query(None, encoding)


@pytest.mark.parametrize("data", [b"", b"\n \t\n"])
def test_a_blank_query_is_wrong_usage(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Input(data))
    with pytest.raises(UsageError):
        read_query(None)


def test_no_standard_input_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ChatuiError, match="standard input is closed"):
        read_query(None)


def test_a_history_is_a_list_of_rounds(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    file.write_text("\ufeff" + json.dumps([["夜来", "风雨声"], ["", ""]]), encoding="utf-8")
    assert read_history(str(file)) == (("夜来", "风雨声"), ("", ""))
    assert read_history(None) == ()


@pytest.mark.parametrize(
    "content", ["{", "[" * 100_000, "{}", '[["a"]]', '[["a", 1]]', '["ab"]', b"\xff\xfe", None]
)
def test_a_wrong_history_is_one_sentence(content: str | bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ChatuiError) as raised:
        read_history(str(file))
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)
