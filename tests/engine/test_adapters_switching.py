"""Switching adapters: when the base is read again, and that its weights are restored exactly."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import adapter_files
import forked_engine
import pytest
import torch
from adapter_files import ALL, logits_of
from asking import ask, loaded, parts, spec

from chatui.backends.local import LocalBackend
from chatui.engine import loading
from chatui.engine.engine import Engine
from chatui.messages import Adapter, Done, GenerateRequest, Loaded, Loading, ModelSpec
from chatui.sampling import SamplingSettings

Maker = Callable[[str], Path]
IDS = [5, 9, 30, 12, 7, 41, 22]


@pytest.fixture
def lora(made: Maker, tmp_path: Path) -> Adapter:
    return Adapter(str(adapter_files.lora(made("llama"), tmp_path / "lora", ALL["llama"])))


@pytest.fixture
def other(made: Maker, tmp_path: Path) -> Adapter:
    folder = adapter_files.lora(
        made("llama"), tmp_path / "other", ["q_proj"], seed=8, modules_to_save=["norm"]
    )
    return Adapter(str(folder))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[ModelSpec]:
    """Return the list of specs whose base was read from disk."""
    found: list[ModelSpec] = []
    real = loading._load_weights

    def read(plan: loading.LoadPlan, report: Callable[[Loading], None]) -> object:
        found.append(plan.spec)
        return real(plan, report)

    monkeypatch.setattr(loading, "_load_weights", read)
    return found


def test_the_base_is_read_once(
    made: Maker, lora: Adapter, other: Adapter, reads: list[ModelSpec]
) -> None:
    bare = spec(made("llama"))
    wanted = {}
    for adapters in ((), (lora,), (other,), (lora, other), (other, replace(lora, scale=0.5))):
        wanted[adapters] = logits_of(loaded(made("llama"), adapters=adapters), IDS)
    reads.clear()
    engine = Engine()
    for adapters in [*wanted, *reversed(wanted), (lora,), ()]:
        events: list[Loading] = []
        engine.load(replace(bare, adapters=adapters), events.append)
        assert torch.equal(logits_of(engine, IDS), wanted[adapters]), adapters
        if adapters:
            assert events[-1].done_bytes == events[-1].total_bytes > 0
    assert len(reads) == 1


def test_other_settings_of_the_spec_keep_the_base(
    made: Maker, lora: Adapter, reads: list[ModelSpec]
) -> None:
    engine = loaded(made("llama"))
    changed = spec(
        made("llama"), adapters=(lora,), format="luotuo", context_limit=64, eos_ids=(7,),
        sampling=SamplingSettings(temperature=0.5), system="x",
    )  # fmt: skip
    summary = engine.load(replace(changed, name="luotuo"), lambda _: None)
    assert (summary.name, summary.format, summary.context_limit) == ("luotuo", "luotuo", 64)
    assert engine._loaded().eos_ids == {7}
    assert len(reads) == 1


def test_another_base_is_read(
    made: Maker, copied: Maker, lora: Adapter, reads: list[ModelSpec]
) -> None:
    engine = loaded(made("llama"), adapters=(lora,))
    engine.load(spec(made("llama"), dtype="bfloat16"), lambda _: None)
    assert len(reads) == 2
    folder = copied("llama")
    engine.load(spec(folder), lambda _: None)
    assert len(reads) == 3
    engine.load(spec(folder), lambda _: None)
    assert len(reads) == 3
    file = folder / "model.safetensors"
    os.utime(file, ns=(1, 1))
    engine.load(spec(folder), lambda _: None)
    assert len(reads) == 4


def test_a_merged_base_is_read_again(made: Maker, lora: Adapter, reads: list[ModelSpec]) -> None:
    bare = spec(made("llama"))
    engine = Engine()
    engine.load(bare, lambda _: None)
    before = logits_of(engine, IDS)
    engine.load(replace(bare, adapters=(lora,), merge_adapters=True), lambda _: None)
    assert len(reads) == 2
    engine.load(bare, lambda _: None)
    assert len(reads) == 3
    assert torch.equal(logits_of(engine, IDS), before)


def test_the_prompt_cache_is_dropped(made: Maker, lora: Adapter) -> None:
    engine = loaded(made("llama"))
    ask(engine)
    assert parts(ask(engine))[0].reused_tokens > 0
    engine.load(spec(made("llama"), adapters=(lora,)), lambda _: None)
    again = parts(ask(engine))
    assert again[0].reused_tokens == 0
    assert again[2].output_ids == parts(ask(loaded(made("llama"), adapters=(lora,))))[2].output_ids


def test_the_other_families(made: Maker, tmp_path: Path, reads: list[ModelSpec]) -> None:
    for count, family in enumerate(("gpt2_chinese", "bloom", "qwen2", "moss"), 1):
        folder = adapter_files.lora(made(family), tmp_path / family, ALL[family])
        engine = loaded(made(family))
        before = logits_of(engine, IDS)
        engine.load(spec(made(family), adapters=(Adapter(str(folder)),)), lambda _: None)
        assert not torch.equal(logits_of(engine, IDS), before)
        engine.load(spec(made(family)), lambda _: None)
        assert torch.equal(logits_of(engine, IDS), before)
        assert len(reads) == count


async def test_switching_in_the_engine_process(made: Maker, lora: Adapter, engines: None) -> None:
    """A load of the same spec with other adapters, as by F3."""
    backend = forked_engine.forking(LocalBackend())
    bare = spec(made("llama"))
    settings = SamplingSettings(greedy=True, max_new_tokens=8)

    async def answer(adapters: tuple[Adapter, ...]) -> Done:
        last = [event async for event in backend.load(replace(bare, adapters=adapters))][-1]
        assert isinstance(last, Loaded)
        request = GenerateRequest("春眠", sampling=settings)
        done = [event async for event in backend.generate(request)][-1]
        assert isinstance(done, Done)
        return done

    try:
        replies = [await answer(adapters) for adapters in ((), (lora,), ())]
    finally:
        await backend.close()
    assert replies[0].output_ids == replies[2].output_ids
    assert replies[0].output_ids != replies[1].output_ids
    for adapters, reply in zip(((), (lora,)), replies, strict=False):
        engine = loaded(made("llama"), adapters=adapters)
        assert parts(ask(engine, "春眠", max_new_tokens=8))[2].output_ids == reply.output_ids
