"""Validation of sampling settings from files, options, presets and requests; the settings file."""

from __future__ import annotations

import json
import math
import random
import re
from pathlib import Path
from typing import Any

import pytest

from chatui import catalog, wire
from chatui.catalog.schema import PresetFields
from chatui.cli.parser import run
from chatui.errors import ChatuiError
from chatui.messages import GenerateRequest
from chatui.sampling import DEFAULTS, SETTINGS, SamplingSettings, override
from chatui.settings import Settings, load_settings

WRONG: list[tuple[str, Any]] = [
    *(("temperature", value) for value in (math.nan, math.inf, -0.1, 1e9, 10**400, True, "1", [])),
    *(("top_k", value) for value in (-1, 0.5, 5.0, 2**31, True, None)),
    *(("top_p", value) for value in (-1, 1.01, math.nan)),
    *(("min_p", value) for value in (-0.1, 1.5)),
    *(("repetition_penalty", value) for value in (0, -1, math.inf)),
    *(("presence_penalty", value) for value in (-1e30, math.nan)),
    *(("penalty_decay", value) for value in (-1, 1.1)),
    ("no_repeat_ngram_size", -1),
    ("avoid_repeat", 3),
    *(("greedy", value) for value in (1, "yes", None)),
    *(("max_new_tokens", value) for value in (0, -5, 1.5)),
    *(("seed", value) for value in (-1, 2**63, 1.0)),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_invalid_value_is_a_sentence_with_name_value_and_range(name: str, value: Any) -> None:
    with pytest.raises(ChatuiError) as raised:
        SamplingSettings(**{name: value})
    said = str(raised.value)
    assert said.startswith(f"The sampling setting {name} is {repr(value)[:20]}")
    assert said.endswith(f"it must be {SETTINGS[name].range}.")


def test_ranges_as_text() -> None:
    assert SETTINGS["temperature"].range == "a number from 0 to 100"
    assert SETTINGS["top_p"].range == "a number above 0 and at most 1"
    assert SETTINGS["max_new_tokens"].range == "a whole number from 1 to 2147483647"
    assert SETTINGS["greedy"].range == "true or false"


def test_limits_and_optional_values_are_allowed() -> None:
    for name, setting in SETTINGS.items():
        if setting.kind in (int, float):
            SamplingSettings(**{name: setting.maximum})
        if setting.optional:
            SamplingSettings(**{name: None})
    assert SamplingSettings(temperature=1, top_p=1).temperature == 1


def test_invalid_sampling_in_the_settings_file(home: Path) -> None:
    file = home / "settings.toml"
    home.mkdir()
    for line, said in (
        ("temperature = nan", "temperature is nan; it must be a number from 0 to 100"),
        ("repetition_penalty = 0", "repetition_penalty is 0; it must be"),
        ("top_k = true", "top_k is True; it must be"),
        ("topk = 3", "Unknown sampling setting: topk"),
    ):
        file.write_text(f"[sampling]\n{line}\n")
        with pytest.raises(ChatuiError, match=said) as raised:
            load_settings()
        assert str(file) in str(raised.value)
    # Windows' Notepad writes a byte order mark.
    file.write_text('[sampling]\navoid_repeat = "，。"\nmin_p = 0.1\n', encoding="utf-8-sig")
    assert catalog.resolve("shiyou", load_settings()).sampling.avoid_repeat == "，。"
    file.write_text("max_new_tokens = -1\n")
    with pytest.raises(ChatuiError, match="max_new_tokens is -1; it must be"):
        load_settings()


def test_invalid_sampling_in_presets_models_and_messages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="repetition_penalty is 0"):
        PresetFields(sampling={"repetition_penalty": 0})
    sound = wire.encode(wire.Generate(GenerateRequest("a", sampling=SamplingSettings(top_k=5))))
    with pytest.raises(ChatuiError, match="top_k is -5"):
        wire.decode(re.sub(rb'("top_k": ?)5', rb"\1-5", sound))
    # Invalid values in a model's own file are ignored.
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]})
    )
    (tmp_path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b" " * 9)
    said = {"do_sample": True, "temperature": 0.3, "top_k": -1, "repetition_penalty": 0}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    assert catalog.resolve(str(tmp_path), Settings()).sampling == SamplingSettings(temperature=0.3)


def test_options_refuse_invalid_values(capsys: pytest.CaptureFixture[str]) -> None:
    for name, setting in SETTINGS.items():
        if setting.metavar:
            assert run(["ask", "hi", "--" + name.replace("_", "-"), str(setting.minimum - 1)]) == 2
            assert setting.range in capsys.readouterr().err


def test_only_settings_with_an_effect_are_active() -> None:
    settings = SamplingSettings(temperature=0.7, top_k=9, repetition_penalty=1.1, seed=3)
    assert settings.active_settings() == {
        "temperature": 0.7, "top_k": 9, "repetition_penalty": 1.1, "seed": 3
    }  # fmt: skip
    greedy = override(settings, {"greedy": True})
    assert greedy.active_settings() == {"repetition_penalty": 1.1, "greedy": True}
    assert override(settings, {"temperature": 1e-9}).is_greedy
    assert not DEFAULTS.active_settings()


def test_the_manuals_list_the_options() -> None:
    options = {
        f"`--{name.replace('_', '-')}`" for name, setting in SETTINGS.items()
        if setting.metavar is not None
    }  # fmt: skip
    for name in ("docs/usage.md", "docs/usage.zh-CN.md"):
        text = (Path(__file__).parents[1] / name).read_text(encoding="utf-8")
        assert not {option for option in options if option not in text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("theme = 3", "theme must be text"),
        ("reply_reserve = 1.5", "reply_reserve must be a whole number"),
        ('language = "fr"', "language cannot be 'fr'; possible are: auto, zh, en"),
        ('notify = "loud"', "notify cannot be 'loud'; possible are: off, bell, osc9, osc777"),
        ("ambiguous_width = 3", "ambiguous_width cannot be 3; possible are: 1, 2"),
        ('think = "no"', "think cannot be 'no'; possible are: true or false, auto"),
        ('context = "all"', "context cannot be 'all'; possible are: a whole number, auto"),
        (
            '[[servers]]\nurl = "http://a"\napi = "b"',
            r"servers\[0\].api cannot be 'b'; possible are: chat, completions",
        ),
        ("model_folders = [3]", r"model_folders\[0\] must be text"),
        ('[[servers]]\nname = "a"', r"servers\[0\].url is missing"),
        ('[[servers]]\nurl = "http://a"\nkey = "b"', r"unknown key: servers\[0\].key"),
        ("servers = 3", "servers must be a list"),
        ("think = 3", "think must be true or false / text"),
        ("max_new_tokens = 99999999999999999999", "must be a whole number from 0"),
        ("a = " + "9" * 5000, "not valid TOML"),
        ("a = " + "[" * 9000, "not valid TOML"),
        (b"theme = '\xd6\xd0'", "not UTF-8 text; save it as UTF-8"),
    ],
)
def test_an_invalid_settings_file_is_one_sentence(
    text: str | bytes, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ChatuiError, match=said) as raised:
        load_settings(file)
    assert str(file) in str(raised.value)


def test_impossible_model_folders_are_ignored() -> None:
    settings = Settings(model="a\0b", model_folders=("~nobody-at-all/x", "a\0b"))
    assert catalog.list_models(settings)
    with pytest.raises(ChatuiError):
        catalog.resolve(settings.model, settings)


def test_a_damaged_settings_file_raises_only_chatui_errors(tmp_path: Path) -> None:
    sound = (
        'language = "zh"\nmodel = "shiyou"\nmerge_adapters = true\nmax_new_tokens = 12\n'
        'model_folders = ["/a", "~/b"]\n[sampling]\ntemperature = 0.9\ntop_k = 5\n'
        'avoid_repeat = "，"\n[[servers]]\nurl = "http://127.0.0.1:8000"\napi = "chat"\n'
    ).encode()
    pieces = (
        b"[", b"]", b'"', b"=", b"\n", b"nan", b"-", b"1e999", b"9" * 5000, b"[" * 9000, b"\xff",
        b"\\u0000", b"1979-05-27", b"{}", b"[[", b".", b"'", b"inf", b"true", b"\x00", b"\\ud800",
    )  # fmt: skip
    file = tmp_path / "settings.toml"
    dice = random.Random(0)
    read = 0
    for _ in range(600):
        data = bytearray(sound)
        for _ in range(dice.randint(1, 3)):
            start = dice.randrange(len(data))
            data[start : start + dice.choice((0, 1, 5, 40))] = dice.choice((b"", *pieces))
        file.write_bytes(data)
        try:
            load_settings(file)
            read += 1
        except ChatuiError as error:
            assert str(file) in str(error) and "\n" not in str(error)
    assert 12 < read < 560
