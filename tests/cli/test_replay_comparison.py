"""``chatui replay --model``: recorded queries on other models, with real weights."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_models
from command import Chatui, is_one_sentence

from chatui.backends import registry
from chatui.cli import session
from chatui.cli.parser import run
from chatui.cli.replay import requested_models
from chatui.cli.replay_run import ModelPool
from chatui.errors import ChatuiError
from chatui.messages import Adapter, Loaded, ModelSpec


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with other weights."""
    folder = tmp_path_factory.mktemp("models") / "other"
    return str(tiny_models.gpt2_chinese(folder, context=8192, seed=1))


@pytest.fixture
def record(chatui: Chatui, tiny: str, tmp_path: Path) -> str:
    file = tmp_path / "r.jsonl"
    ask = ("--model", tiny, "--format", "shiyou", "--max-new-tokens", "12", "--seed", "3")
    assert chatui("ask", "春眠", *ask, "--record", str(file)).returncode == 0
    return str(file)


def test_several_models_make_a_report(
    chatui: Chatui, tiny: str, other: str, record: str, tmp_path: Path
) -> None:
    second = tmp_path / "second.jsonl"
    second.write_bytes(Path(record).read_bytes())
    report = tmp_path / "out.json"
    asked = (
        *("replay", record, str(second), "--format", "shiyou", "--report", str(report)),
        *("--model", tiny, "--model", other),
    )
    done = chatui(*asked)
    assert (done.returncode, done.stderr) == (0, "") and str(report) in done.stdout
    found = json.loads(report.read_text(encoding="utf-8"))
    assert [each["name"] for each in found["summary"]] == ["recorded", "tiny", "other"]
    recorded, same, different = found["summary"]
    assert (same["replies"], same["same"], same["agreement"]["recorded"]) == (2, 2, 1)
    assert different["same"] == 0 and different["agreement"]["recorded"] < 1
    assert different["agreement"]["recorded"] == recorded["agreement"]["other"]
    assert [each["file"] for each in found["rounds"]] == [record, str(second)]
    for each in (recorded, same, different):
        # Also the replies of the last model under the first, which was loaded again for them.
        assert all(1 < value < math.inf for value in each["perplexity"].values())
        assert list(each["perplexity"]) == ["tiny", "other"]
    assert same["perplexity"] == pytest.approx(recorded["perplexity"])
    assert chatui(*asked, "--rerun").returncode == 3


def test_another_model_is_shown_beside_the_recorded_reply(
    chatui: Chatui, other: str, record: str
) -> None:
    done = chatui("replay", record, "--model", other, "--format", "shiyou")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    heading = next(line for line in lines if line.startswith("recorded"))
    assert heading.split() == ["recorded", "other"] and lines[1] == "> 春眠"
    assert "[-" in done.stdout and "{+" in done.stdout and "perplexity" in done.stdout


def test_errors_of_a_comparison_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "e.jsonl"
    twin = tmp_path / "twin.jsonl"
    for file in (empty, twin):
        file.write_text('{"format": "chatui-transcript", "version": 2, "start": 1}\n')
    for options in (("--report", str(tmp_path / "x.pdf")), ("--model", "shiyou")):
        assert run(["replay", str(empty), *options]) == 1
        assert is_one_sentence(capsys.readouterr().err)
    assert run(["replay", str(empty), str(twin)]) == 2


def test_an_adapter_belongs_to_the_model_before_it() -> None:
    one, two = Adapter("one"), Adapter("two")
    assert requested_models(["a", "b", one]) == [("a", []), ("b", [one])]
    assert requested_models([one, "a", "b", two]) == [("a", [one]), ("b", [one, two])]
    assert requested_models([one]) == [(None, [one])]
    assert requested_models([]) == []


def test_models_stay_loaded_while_they_fit_beside_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Adapters share their base; a model that does not fit beside the others is loaded alone."""
    seen: list[str] = []

    class Fake:
        async def load(self, spec: ModelSpec) -> AsyncIterator[Loaded]:
            adapters = "".join(each.path for each in spec.adapters)
            seen.append(f"{spec.name}{adapters} {spec.weights}")
            alive = len(open_ones - {self})
            open_ones.add(self)
            if spec.name == "large" and alive:
                raise ChatuiError("too large")
            notes = ("a shorter window",) if spec.name == "long" and alive else ()
            yield Loaded(spec.name, "f", "x", 512, notes=notes)

        async def close(self) -> None:
            open_ones.discard(self)

    open_ones: set[Fake] = set()
    monkeypatch.setattr(registry, "create", lambda _: Fake())
    small, other, large, long = (ModelSpec(n, n) for n in ("small", "other", "large", "long"))
    tuned = replace(small, adapters=(Adapter("+lora"),))

    async def work() -> None:
        async with aclosing(ModelPool(session.InterruptHandler())) as held:
            for spec in (small, tuned, other, small, other, large, small, long):
                assert (await held.use(spec))[1].name == spec.name
        assert not open_ones

    asyncio.run(work())
    assert seen == [
        *("small auto", "small+lora auto", "other plain", "small auto"),
        *("large plain", "large auto", "small plain", "long plain", "long auto"),
    ]
