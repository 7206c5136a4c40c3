"""Every shipped preset is complete and names its parts."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import LLAMA, write_model

from chatui.catalog import library, resolve
from chatui.catalog.schema import Part, Preset
from chatui.errors import ChatuiError
from chatui.prompting import formats
from chatui.settings import Settings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = sorted(library.SHIPPED.glob("*.toml"))
PRESETS = list(library.load().by_name.values())
FIFTEEN = (
    "chatglm-6b chinese-alpaca chatllama belle belle-llama alpaca-cot luotuo camelbell "
    "chinese-vicuna moss linly llmzoo chatrwkv gpt2-chinese bloomz"
).split()
VARIANTS = (
    "chatglm-6b-int8 chatglm-6b-int4 chinese-alpaca-13b chinese-alpaca-33b chinese-alpaca-7b-plus "
    "chinese-alpaca-13b-plus chinese-alpaca-7b-pro chinese-vicuna-chat chinese-vicuna-instruct "
    "moss-sft moss-plugin llmzoo-phoenix-inst llmzoo-chimera-7b chatrwkv-world gpt2-chinese-poem "
    "gpt2-chinese-lyric gpt2-chinese-ancient gpt2-chinese-couplet bloomz-560m bloomz-7b1-mt "
    "qwen3-0.6b qwen2.5-0.5b glm-4-9b-chat glm-4-9b-0414 deepseek-r1-1.5b minicpm yi internlm "
    "chatglm2-6b chatglm3-6b"
).split()


def test_the_files_fit_the_schema() -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        system = library.validated(tomllib.loads(text), text, file)
        assert system.name == file.stem


def test_presets_have_all_required_fields() -> None:
    known = {*formats.names(), formats.CHAT_TEMPLATE}
    for preset in PRESETS:
        facts, name = preset.fields, preset.name
        assert facts.format in known, name
        assert facts.family, name
        assert facts.description, name
        assert facts.description.zh, name
        assert facts.description.en, name
        assert len(facts.description.zh.splitlines()) == 1, name
        assert facts.licence, name
        assert facts.source, name
        assert facts.sampling, name
        assert facts.weights, name
        assert facts.weights.int4_gb <= facts.weights.int8_gb, name
        assert facts.context_limit, name
        if len(preset.parts) > 1 or not (preset.base.on_hub or preset.base.asset):
            assert facts.assembly, name


def test_all_systems_have_presets() -> None:
    every = library.load()
    for name in (*FIFTEEN, *VARIANTS, "shiyou", "xuxie"):
        assert every.find(name), name


def test_aliases_and_names_do_not_clash() -> None:
    names = [preset.name for preset in PRESETS]
    aliases = [alias.casefold() for preset in PRESETS for alias in preset.aliases]
    known = {preset.name for preset in PRESETS}
    doubles = {alias for alias in aliases if alias in known}
    systems = {preset.name: preset for preset in PRESETS}
    assert len(names) == len(set(names))
    assert not {alias for alias in doubles if systems[alias].system not in alias}


def _put(part: Part, hub: Callable[[str], Path], folder: Path) -> None:
    """Put a part into the cache or into a settings' folder."""
    place = folder / part.local if part.local else hub(part.hf) / part.folder
    write_model(place, LLAMA)
    if part.file:
        (place / part.file).write_bytes(b"x")


def test_all_parts_are_found(hub: Callable[[str], Path], tmp_path: Path) -> None:
    for preset in PRESETS:
        if not preset.fields.lacks:
            _check_parts(preset, hub, tmp_path)
            # What one needs must not be found because another has it.
            for place in ("hub", "models"):
                shutil.rmtree(tmp_path / place, ignore_errors=True)


def _check_parts(preset: Preset, hub: Callable[[str], Path], tmp_path: Path) -> None:
    for part in preset.parts:
        if not part.asset:
            _put(part, hub, tmp_path / "models")
    settings = Settings(model_folders=(str(tmp_path / "models"),))
    spec = resolve(preset.name, settings)
    facts = preset.fields
    assert spec.name == preset.name
    assert Path(spec.path).exists(), preset.name
    assert len(spec.adapters) == len(facts.adapters or ()), preset.name
    assert all(Path(adapter.path).exists() for adapter in spec.adapters), preset.name
    assert bool(spec.delta) == bool(facts.delta), preset.name
    assert bool(spec.tokenizer) == bool(facts.tokenizer), preset.name
    assert (spec.family, spec.format) == (facts.family, facts.format), preset.name
    for name, value in (facts.sampling or {}).items():
        assert getattr(spec.sampling, name) == value, preset.name


def test_an_interrupted_download_counts_as_missing(hub: Callable[[str], Path]) -> None:
    folder = hub("BelleGroup/BELLE-7B-2M")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ChatuiError, match="chatui pull belle"):
        resolve("belle", Settings())
    write_model(folder, LLAMA)
    assert resolve("belle", Settings()).path == str(folder)


def test_beam_search_is_noted_as_replaced(hub: Callable[[str], Path], tmp_path: Path) -> None:
    luotuo = library.load().by_name["luotuo"]
    for part in luotuo.parts:
        _put(part, hub, tmp_path)
    assert "4 beams" in resolve("luotuo", Settings()).notes[0]


def test_bare_state_dicts_carry_rank_and_alpha(hub: Callable[[str], Path], tmp_path: Path) -> None:
    for part in library.load().by_name["camelbell"].parts:
        _put(part, hub, tmp_path)
    (adapter,) = resolve("camelbell", Settings(model_folders=(str(tmp_path),))).adapters
    assert (adapter.rank, adapter.alpha) == (8, 32.0)
    assert adapter.path.endswith("chatglm-lora.pt")


def test_find_and_load_return_the_same_preset() -> None:
    every = library.load()
    for reference in (*every.by_name, "诗友", "BELLE", "nobody"):
        assert library.find(reference) == every.find(reference), reference
