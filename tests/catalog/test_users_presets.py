"""Presets of the user: they override shipped ones, and invalid files are reported and skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import LLAMA, write_model

from chatui import catalog
from chatui.catalog import library, resolve
from chatui.catalog.fetching.planning import plan
from chatui.errors import ChatuiError
from chatui.settings import Settings

Write = Callable[[str, str], Path]

MINE = """
family = "llama"
format = "luotuo"
aliases = ["我的"]
base = { path = "FOLDER" }
adapters = [{ path = "FOLDER", scale = 0.5, rank = 8 }]
stop_strings = ["###"]
system = "You are mine."
context = 700

[sampling]
top_k = 5
"""


def test_a_users_preset_resolves(users_preset: Write, tmp_path: Path) -> None:
    write_model(tmp_path, LLAMA)
    users_preset("mine.toml", MINE.replace("FOLDER", str(tmp_path)))
    spec = resolve("mine", Settings())
    assert (spec.path, spec.format, spec.system) == (str(tmp_path), "luotuo", "You are mine.")
    assert (spec.adapters[0].scale, spec.adapters[0].rank) == (0.5, 8)
    assert spec.sampling.top_k == 5
    assert spec.stop_strings == ("###",) and spec.context == 700
    assert resolve("mine", Settings(context=300)).context == 300
    assert resolve("我的", Settings()) == spec
    assert "mine" in {entry.reference for entry in catalog.list_models(Settings())}


def test_a_users_preset_overrides_a_shipped_one(users_preset: Write, tmp_path: Path) -> None:
    write_model(tmp_path, LLAMA)
    users_preset("belle.toml", MINE.replace("FOLDER", str(tmp_path)))
    assert resolve("belle", Settings()).format == "luotuo"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('format = "luotuo"\nbase = { hf = "a/b" }\n\nformt = 3\n', 4, "formt: unknown key."),
        (
            'format = "luotuo"\nbase = { hf = "a/b" }\ncontext_limit = "much"\n',
            3,
            "context_limit: must be a whole number.",
        ),
        (
            'format = "x"\n\n[base]\nhf = "a/b"\nhuggingface = "a/b"\n',
            5,
            "base.huggingface: unknown key.",
        ),
        ('format = "x"\nbase = {}\n', 2, "a part needs"),
        ('format = "luotuo"\n', 1, "has no base"),
        ('base = { hf = "a/b" }\n', 1, "has no format"),
        (
            'format = "x"\nbase = { hf = "a/b" }\n[variants.big]\n\ndtype = 16\n',
            5,
            "variants.big.dtype: must be text.",
        ),
        ('format = "x"\nbase = { hf = "a/b" }\n[sampling]\ntopk = 3\n', 4, "topk"),
        (
            'format = "x"\nbase = { hf = "a/b" }\n[variants.big]\n[variants.big.sampling]\n'
            'top_k = 3\ntemperature = "hot"\n',
            6,
            "variants.big.sampling.temperature: The sampling setting temperature is 'hot'",
        ),
        ('format = "x"\ncontext_limit = 0\nbase = { hf = "a/b" }\n', 2, "context_limit: it must"),
        ('format = "x"\ncontext = 0\nbase = { hf = "a/b" }\n', 2, "context: it must"),
        (
            'format = "x"\ncontext = "much"\nbase = { hf = "a/b" }\n',
            2,
            "context: cannot be 'much'; possible are: a whole number, auto.",
        ),
        ('format = "x"\n\nbase = { hf = "../../etc" }\n', 3, "owner/name"),
        ('format = "x"\nbase = { hf = "a/b", also = ["c/d", "e"] }\n', 2, "'e'"),
        ('name = "Mein Modell"\nformat = "x"\nbase = { hf = "a/b" }\n', 1, "is not a valid name"),
        ('format = "x"\ndefault = "7b"\nbase = { hf = "a/b" }\n', 1, "variant '7b', which"),
    ],
)
def test_an_invalid_file_is_reported_with_its_line(
    users_preset: Write, text: str, line: int, said: str
) -> None:
    file = users_preset("wrong.toml", text)
    (problem,) = catalog.problems()
    assert str(file) in problem
    assert f"line {line}," in problem
    assert said in problem
    assert resolve("shiyou", Settings()).name == "shiyou"
    with pytest.raises(ChatuiError, match="skipped"):
        resolve("wrong", Settings())
    with pytest.raises(ChatuiError, match="skipped"):
        plan("wrong", Settings())
    with pytest.raises(ChatuiError, match="no model called"):
        plan("rong", Settings())


@pytest.mark.parametrize("data", [b"format = \n", b"\xff\xfe", b"a = 'x", b"\0"])
def test_invalid_toml_is_skipped(users_preset: Write, data: bytes) -> None:
    users_preset("wrong.toml", "").write_bytes(data)
    (problem,) = catalog.problems()
    assert "wrong.toml" in problem
    assert len(problem.splitlines()) == 1


def test_a_corrected_file_is_read_again(users_preset: Write, tmp_path: Path) -> None:
    users_preset("mine.toml", "format = 3")
    assert catalog.problems()
    users_preset("mine.toml", MINE.replace("FOLDER", str(tmp_path)))
    assert not catalog.problems()
    assert library.load().find("mine")


def test_a_presets_folder_that_is_a_file_is_ignored(home: Path) -> None:
    home.mkdir()
    (home / "presets").write_text("a file")
    assert library.load().find("shiyou")


def test_line_of_finds_the_line_of_a_key() -> None:
    text = 'a = 1\n[b]\nc = 2\n[b.d]\n"e-f" = 3\n[[g]]\nh = 1\n'
    lines = {("a",): 1, ("b", "c"): 3, ("b", "d", "e-f"): 5, ("g", 0, "h"): 7, ("b", "x"): 2}
    for location, line in lines.items():
        assert library.line_of(text, location) == line
    assert library.line_of(text, ()) == 1
