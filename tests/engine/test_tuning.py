"""chatui tune: training, the resulting adapters, interrupted and resumed runs."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from asking import FAMILIES, ask, loaded, parts, spec
from peft import PeftModel

from chatui import locations
from chatui.cli import parser
from chatui.engine.engine import Engine
from chatui.engine.tuning import tuning_run
from chatui.engine.tuning.lora_base import TuningOptions
from chatui.engine.tuning.tuning_examples import TuningExamples
from chatui.engine.tuning.tuning_run import TuningState, tune
from chatui.errors import ChatuiError
from chatui.messages import Adapter, ModelSpec

Small = tuple[ModelSpec, Path]
ANSWER = "小园香径独徘徊"
SHIYOU = ModelSpec("shiyou", str(locations.assets_folder() / "shiyou"), format="shiyou")
OPTIONS = TuningOptions(learning_rate=1e-2, batch=4, epochs=3, targets=("c_attn", "c_fc", "c_proj"))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ``chatui dataset`` with twenty queries and one answer."""
    folder = tmp_path_factory.mktemp("tuning")
    rows = folder / "rows.jsonl"
    with rows.open("w", encoding="utf-8") as file:
        for number in range(20):
            query = f"你叫什么名字{chr(0x4E00 + 7 * number)}"
            file.write(json.dumps({"instruction": query, "output": ANSWER}) + "\n")
    out = folder / "examples.jsonl"
    arguments = ["dataset", str(rows), "--model", "shiyou", "-o", str(out)]
    assert parser.run([*arguments, "--max-length", "48"]) == 0
    return out


@pytest.fixture
def small(made: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A tiny base, and examples for five steps."""
    file = tmp_path_factory.mktemp("small") / "examples.jsonl"
    rows = [{"input_ids": [5, 6, 7, 8 + n], "labels": [-100, -100, 7, 8 + n]} for n in range(20)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return spec(made("gpt2_chinese")), file


def quiet(_: TuningState) -> None:
    pass


def test_training_lowers_the_loss_and_changes_replies(examples: Path, tmp_path: Path) -> None:
    """An adapter trained on packed weights works with packed and plain weights."""
    target = tmp_path / "adapter"
    base = replace(SHIYOU, weights="int8")
    state = tune(base, examples, target, OPTIONS, quiet)
    assert (state.step, state.steps) == (15, 15)
    assert state.losses[-1] < 0.2 < 2 < state.losses[0]
    (_, before), (_, after) = state.held_out
    assert after < 0.2 < 2 < before
    config = json.loads((target / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == ("shiyou", 8)
    engine = Engine()
    engine.load(SHIYOU, lambda _: None)
    assert ANSWER not in parts(ask(engine, "你叫什么名字丁"))[2].text
    for each in (base, SHIYOU):
        tuned = replace(each, adapters=(Adapter(str(target)),))
        engine.load(tuned, lambda _: None)
        done = parts(ask(engine, "你叫什么名字丁"))[2]
        assert (done.text, done.finish_reason) == (ANSWER, "eos")


def test_a_resumed_run_equals_an_uninterrupted_one(small: Small, tmp_path: Path) -> None:
    base, examples = small
    options = TuningOptions(rank=2, batch=4, epochs=1)
    whole = tune(base, examples, tmp_path / "whole", options, quiet)

    def stop(state: TuningState) -> None:
        if state.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(base, examples, tmp_path / "parts", options, stop)
    # The folder is a normal adapter; the state of the run is in a folder of its own.
    names = {file.name for file in (tmp_path / "parts").iterdir() if file.is_file()}
    assert names - {"README.md"} == {"adapter_config.json", "adapter_model.safetensors"}
    tuned = replace(base, adapters=(Adapter(str(tmp_path / "parts")),))
    Engine().load(tuned, lambda _: None)
    steps: list[int] = []
    rest = tune(base, examples, tmp_path / "parts", options, lambda s: steps.append(s.step))
    assert steps == [3, 4, 5]
    assert rest.losses == pytest.approx(whole.losses, abs=1e-6)
    with pytest.raises(ChatuiError, match="holds another run"):
        tune(base, examples, tmp_path / "parts", TuningOptions(rank=3), quiet)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ("", "contains no examples"),
        ('{"input_ids": [1, 2]}', "Line 1 of .* is not a training example"),
        ('{"input_ids": [1], "labels": [1, 2]}', "Line 1 of .* is not a training example"),
        ("\n[]", "Line 2 of .* is not a training example"),
        ('{"input_ids": [1, 2], "labels": [-100, -100]}', "has nothing to learn"),
        ('{"input_ids": [1, 99999], "labels": [-100, 99999]}', "contains the token 99999"),
    ],
)
def test_invalid_examples_are_reported(
    small: Small, content: str, wrong: str, tmp_path: Path
) -> None:
    file = tmp_path / "examples.jsonl"
    file.write_text(content)
    with pytest.raises(ChatuiError, match=wrong):
        tune(small[0], file, tmp_path / "adapter", OPTIONS, quiet)
    assert not (tmp_path / "adapter").exists()


def test_a_folder_with_other_files_is_refused(examples: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(ChatuiError, match="not a run of chatui tune"):
        tune(SHIYOU, examples, tmp_path, OPTIONS, quiet)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_padding_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "examples.jsonl"
    left = {"input_ids": [0, 0, 5, 6], "labels": [-100, -100, -100, 6]}
    right = {"input_ids": [5, 6, 7, 0, 0], "labels": [-100, 6, 7, -100, -100]}
    lines = [{**left, "attention_mask": [0, 0, 1, 1]}, right]
    file.write_text("\n".join(map(json.dumps, lines)))
    pairs = TuningExamples(file)
    assert [pairs[0].input_ids.tolist(), pairs[1].input_ids.tolist()] == [[5, 6], [5, 6, 7]]
    assert [pairs[0].learned_count, pairs[1].learned_count] == [1, 2]


def test_the_command_prints_a_command_to_try(
    examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    threads = torch.get_num_threads()
    monkeypatch.setattr(tuning_run, "_SAVE_SECONDS", 0.0)
    target = tmp_path / "adapter"
    arguments = ["tune", str(examples), "--model", "shiyou", "-o", str(target), "--epochs", "1"]
    arguments = ["--lang", "en", *arguments, "--rank", "2", "--targets"]
    assert parser.run([*arguments, "c_attn,c_proj"]) == 0
    said = capsys.readouterr()
    assert f"chatui --model shiyou --lora {target}" in said.out
    assert "Loss on held-out examples" in said.out
    assert parser.run([*arguments, "q_proj"]) == 1
    assert "no module named q_proj; choose from c_attn, c_fc, c_proj" in capsys.readouterr().err
    torch.set_num_threads(threads)


def test_a_second_ctrl_c_does_not_interrupt_saving(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, examples = small
    options = TuningOptions(rank=2, batch=4, epochs=1)
    saved = PeftModel.save_pretrained

    def pressed(self: Any, folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        saved(self, folder)

    def stop(state: TuningState) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PeftModel, "save_pretrained", pressed)
        with pytest.raises(KeyboardInterrupt):
            tune(base, examples, tmp_path / "adapter", options, stop)
    steps: list[int] = []
    tune(base, examples, tmp_path / "adapter", options, lambda s: steps.append(s.step))
    assert steps == [2, 3, 4, 5]
    assert [file.name for file in tmp_path.iterdir()] == ["adapter"]


def test_ctrl_c_within_a_step_counts_the_step(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, examples = small
    options = TuningOptions(rank=2, batch=4, epochs=1)
    expected = tune(base, examples, tmp_path / "whole", options, quiet)
    zero_grad = torch.optim.AdamW.zero_grad

    def pressed(self: Any, set_to_none: bool = True) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        zero_grad(self, set_to_none)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "zero_grad", pressed)
        with pytest.raises(KeyboardInterrupt):
            tune(base, examples, tmp_path / "parts", options, quiet)
    resumed = tune(base, examples, tmp_path / "parts", options, quiet)
    assert resumed.losses == pytest.approx(expected.losses, abs=1e-6)


def test_a_full_disk_keeps_the_saved_state(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning_run, "_SAVE_SECONDS", 0.0)
    base, examples = small
    options = TuningOptions(rank=64, batch=4, epochs=1)
    target = tmp_path / "adapter"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(state: TuningState) -> None:
        if state.step == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))

    try:
        with pytest.raises(ChatuiError, match="cannot be written"):
            tune(base, examples, target, options, fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [file.name for file in tmp_path.iterdir()] == ["adapter"]
    steps: list[int] = []
    tune(base, examples, target, options, lambda state: steps.append(state.step))
    assert steps == [3, 4, 5]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_of_every_family_can_be_loaded(
    family: str, made: Callable[[str], Path], tmp_path: Path
) -> None:
    file = tmp_path / "examples.jsonl"
    lines = [{"input_ids": [5, 6, 7, 8 + n], "labels": [-100, -100, 7, 8 + n]} for n in range(4)]
    file.write_text("\n".join(map(json.dumps, lines)))
    base = spec(made(family))
    options = TuningOptions(rank=2, batch=2, epochs=1, learning_rate=0.5)
    state = tune(base, file, tmp_path / "adapter", options, quiet)
    assert state.steps == 2
    before = parts(ask(loaded(made(family))))[2].output_ids
    adapted = loaded(made(family), adapters=(Adapter(str(tmp_path / "adapter")),))
    assert parts(ask(adapted))[2].output_ids != before
