"""F3: the picker of adapters, and the names of models with adapters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from driven import Driven
from scripted_backend import ScriptedBackend
from textual.widgets import OptionList

from chatui import catalog, locations
from chatui.conversation.store import Store
from chatui.messages import Adapter, Loaded, ModelSpec
from chatui.settings import Settings
from chatui.tui.app import ChatApp
from chatui.tui.model_names import adapter_title, reply_author, with_adapters
from chatui.tui.screens.adapter_picker import AdapterPicker, found_adapters
from chatui.tui.screens.chat import ChatScreen

SPEC = ModelSpec("shiyou", "/models/shiyou")


def write_config(folder: Path, base: str = "owner/base") -> Path:
    """An adapter as far as a list looks at it."""
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 2, "lora_alpha": 4}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def write_lora(folder: Path, width: int, layers: int = 1) -> Path:
    """A LoRA of random weights on the attention of a GPT-2 that is ``width`` wide."""
    import torch
    from safetensors.torch import save_file

    write_config(folder, "shiyou")
    generator = torch.Generator().manual_seed(1)
    pairs = {}
    for layer in range(layers):
        name = f"base_model.model.transformer.h.{layer}.attn.c_attn"
        pairs[f"{name}.lora_A.weight"] = torch.randn(2, width, generator=generator)
        pairs[f"{name}.lora_B.weight"] = torch.randn(3 * width, 2, generator=generator)
    save_file(pairs, folder / "adapter_model.safetensors")
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a folder that holds two adapters."""
    models = tmp_path / "models"
    for name in ("poems", "couplets"):
        write_config(models / name)
    return Settings(model_folders=(str(models),))


async def open_adapters(on: Any) -> OptionList:
    await on.pilot.press("f3")
    await on.until(lambda: isinstance(on.app.screen, AdapterPicker))
    options: OptionList = on.app.screen.query_one(OptionList)
    await on.until(lambda: options.option_count)
    await on.pilot.pause()
    return options


def test_adapters_are_found_in_caches_and_model_folders(tmp_path: Path, settings: Settings) -> None:
    snapshot = tmp_path / "huggingface/hub/models--me--luotuo-lora/snapshots/0123abcd"
    write_config(snapshot)
    (tmp_path / "models" / "chatglm-lora.pt").write_bytes(b"")
    given = Adapter(str(tmp_path / "models" / "poems"), 0.5)
    found = found_adapters(settings, (given,))
    titles = [summary.title for summary in found.values()]
    assert titles == ["poems", "chatglm-lora.pt", "couplets", "me/luotuo-lora"]
    assert next(iter(found)) == given, "the one that was given counts, with its scale"
    assert [summary.base for summary in found.values()] == [
        "owner/base",
        "",
        "owner/base",
        "owner/base",
    ]


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("/models/poems", "poems"),
        ("/hub/models--me--luotuo-lora/snapshots/0123abcd", "me/luotuo-lora"),
        ("/hub/models--me--many/snapshots/0123abcd/one.pt", "me/many/one.pt"),
    ],
)
def test_adapter_titles(path: str, title: str) -> None:
    assert adapter_title(path) == title


def test_the_author_names_the_model_and_its_adapters() -> None:
    assert reply_author(SPEC) == "shiyou"
    two = with_adapters(SPEC, (Adapter("/m/poems"), Adapter("/m/x", 0.5)))
    assert reply_author(two) == "shiyou + poems + x ×0.5"
    quantised = Loaded("shiyou", "gpt2", "shiyou", 1024, dtype="int8")
    assert reply_author(two, quantised) == "shiyou + poems + x ×0.5 + int8"
    assert reply_author(SPEC, Loaded("shiyou", "gpt2", "shiyou", 1024)) == "shiyou"


def test_a_presets_own_adapters_are_part_of_its_name() -> None:
    own = Adapter("/hub/models--silk-road--luotuo-lora-7b-0.3/snapshots/1")
    luotuo = ModelSpec("luotuo", "/models/llama-7b-hf", adapters=(own,))
    assert reply_author(luotuo) == "luotuo"
    assert reply_author(with_adapters(luotuo, (own, Adapter("/m/x")))) == "luotuo + x"
    assert reply_author(with_adapters(luotuo, ())) == "llama-7b-hf"
    assert reply_author(with_adapters(luotuo, (Adapter("/m/x"), own))).startswith("llama-7b-hf + x")


def test_a_model_named_after_its_adapter_loses_the_name_with_it() -> None:
    spec = ModelSpec("me/poems", "/m/base", adapters=(Adapter("/m/poems"),))
    assert reply_author(spec) == "me/poems"
    assert reply_author(with_adapters(spec, ())) == "base"


async def test_chosen_adapters_are_loaded_in_order_for_the_next_round(
    drive: Any, settings: Settings
) -> None:
    async with drive(["一", "二"], settings=settings) as on:
        await on.ask("甲")
        options = await open_adapters(on)
        assert options.option_count == 2
        assert "LoRA · rank 2 · made for owner/base" in on.screen_text
        await on.pilot.press("space", "down", "space", "alt+up", "enter")
        await on.until(lambda: len(on.backend.specs) == 2)
        await on.settled()
        assert [Path(one.path).name for one in on.backend.specs[-1].adapters] == [
            "poems",
            "couplets",
        ]
        await on.ask("乙")
        assert [r.model for r in on.rounds] == ["shiyou", "shiyou + poems + couplets"]
        assert "+ poems + couplets" in on.screen_text
        await open_adapters(on)
        assert "1 ● poems" in on.screen_text
        await on.pilot.press("space", "enter")
        await on.until(lambda: len(on.backend.specs) == 3)
        assert [Path(one.path).name for one in on.backend.specs[-1].adapters] == ["couplets"]


async def test_without_a_change_nothing_is_loaded(drive: Any, settings: Settings) -> None:
    async with drive(settings=settings) as on:
        await on.settled()
        await open_adapters(on)
        await on.pilot.press("space", "escape")
        await open_adapters(on)
        assert "●" not in on.app.screen.query_one(OptionList).options[0].prompt.plain
        await on.pilot.press("enter")
        await on.settled()
        assert isinstance(on.app.screen, ChatScreen)
        assert len(on.backend.specs) == 1


async def test_the_adapter_in_use_is_listed_beside_its_former_scale(
    drive: Any, settings: Settings
) -> None:
    poems = Path(settings.model_folders[0]) / "poems"
    async with drive(settings=settings) as on:
        for words in (f"{poems}@0.5", str(poems)):
            await on.send(f"/lora {words}")
            await on.until(lambda: on.app.turns.spec.adapters and on.app.turns.loaded)
            await on.settled()
        await open_adapters(on)
        assert "1 ● poems" in on.screen_text and "○ poems  ×0.5" in on.screen_text


async def test_a_path_without_an_adapter_is_not_listed(drive: Any, settings: Settings) -> None:
    async with drive(settings=settings) as on:
        await on.settled()
        await on.send("/lora /nowhere")
        await on.until(lambda: on.notices)
        assert "/nowhere" in on.notices[0]
        assert len(on.backend.specs) == 1 and on.app.known_adapters == ()


async def test_a_click_chooses_an_adapter(drive: Any, settings: Settings) -> None:
    async with drive(settings=settings) as on:
        await open_adapters(on)
        await on.pilot.click(OptionList, offset=(6, 0))
        await on.pilot.pause()
        assert "1 ●" in on.screen_text


async def test_an_empty_list_says_how_to_get_an_adapter(drive: Any) -> None:
    async with drive() as on:
        await on.pilot.press("f3")
        await on.until(lambda: "chatui pull" in on.screen_text)


async def test_a_model_on_a_server_has_no_adapter_picker(drive: Any) -> None:
    spec = ModelSpec("gpu:qwen3", "qwen3", backend="openai", server="http://gpu/v1")
    async with drive(spec=spec) as on:
        await on.settled()
        await on.pilot.press("f3")
        await on.pilot.pause()
        assert isinstance(on.app.screen, ChatScreen)
        assert any("gpu:qwen3" in notice for notice in on.notices)


async def test_a_refused_adapter_keeps_the_model_loaded(drive: Any, settings: Settings) -> None:
    async with drive(["一", "二"], settings=settings) as on:
        await on.settled()
        on.backend.refuse_load = "couplets does not fit shiyou."
        await open_adapters(on)
        await on.pilot.press("space", "enter")
        await on.until(lambda: on.notices)
        assert "couplets does not fit shiyou." in on.notices
        assert on.app.turns.spec.adapters == ()
        await on.ask("甲")
        assert [r.model for r in on.rounds] == ["shiyou"]


async def test_adapters_change_the_replies_of_the_engine(
    home: Path, tmp_path: Path, forking: None
) -> None:
    """The model that ships with chatui: an adapter on, a wrong one refused, off again."""
    shiyou = locations.assets_folder() / "shiyou"
    if not (shiyou / "config.json").is_file():
        pytest.skip("the embedded model is not there")
    width = json.loads((shiyou / "config.json").read_text())["n_embd"]
    models = tmp_path / "models"
    layers = json.loads((shiyou / "config.json").read_text())["n_layer"]
    write_lora(models / "a-noisy", width, layers)
    write_lora(models / "b-wrong", width // 2)
    settings = Settings(model_folders=(str(models),), max_new_tokens=12, sampling={"seed": 1})
    spec = catalog.resolve("shiyou", settings)
    app = ChatApp(settings, spec, Store(None))
    async with app.run_test(size=(100, 30)) as pilot:
        on = Driven(app, pilot, None, app.store)  # type: ignore[arg-type]

        async def switched(*keys: str, until: Callable[[], object]) -> None:
            await open_adapters(on)
            await pilot.press(*keys, "enter")
            await on.until(lambda: until() and not app.turns.is_busy, 60)

        async def again() -> None:
            app.turns.regenerate(on.rounds[-1])
            await on.until(lambda: not app.turns.is_busy, 60)

        on.box.set_query("写一首五言绝句，题目是《春夜》")
        await pilot.press("enter")
        await on.until(lambda: app.turns.conversation and not app.turns.is_busy, 60)
        assert not on.notices
        await switched("space", until=lambda: app.turns.spec.adapters)
        await again()
        await switched("down", "space", until=lambda: any("b-wrong" in one for one in on.notices))
        assert app.turns.spec.adapters == (Adapter(str(models / "a-noisy")),)
        await switched("space", until=lambda: not app.turns.spec.adapters)
        await again()
        versions = app.store.siblings(on.rounds[-1].id)
    assert [one.model for one in versions] == ["shiyou", "shiyou + a-noisy", "shiyou"]
    assert versions[0].reply == versions[2].reply != versions[1].reply


async def test_a_start_with_a_mismatched_adapter_loads_the_base(drive: Any) -> None:
    backend = ScriptedBackend(["好"])
    backend.refuse_adapters = "The adapter x does not fit."
    spec = replace(SPEC, adapters=(Adapter("/x"),))
    async with drive(backend=backend, spec=spec) as on:
        await on.ask("甲")
        assert [load.adapters for load in backend.specs] == [spec.adapters, ()]
        assert on.rounds[0].reply == "好"
        assert any("does not fit. The base model is loaded" in notice for notice in on.notices)
