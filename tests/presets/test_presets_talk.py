"""Presets by name: resolving, loading and conversations, and their special tokens."""

from __future__ import annotations

from typing import Any

import pytest
from preset_shelf import Preset, assembly_of
from preset_talk import load, request, three_rounds
from preset_tokenizers import BOS, EOS, MOSS_EOM

from chatui.catalog import library, resolve
from chatui.engine.engine import Engine
from chatui.engine.generate import generate
from chatui.errors import ChatuiError
from chatui.messages import Done
from chatui.settings import Settings

DECAPODA = "decapoda-research/llama-7b-hf"
GLM_ENDS = {"<|endoftext|>", "<|user|>", "<|observation|>"}
QWEN_ENDS = {"<|endoftext|>", "<|im_end|>"}
PRESETS = library.load().by_name
ASSEMBLIES: dict[tuple[str, ...], str] = {}
"""One preset for each combination of parts, preferably one whose marks are listed below."""

# First tokens of a prompt, last tokens, and end tokens of a reply.
MARKS = {
    "luotuo": (["<s>"], [], {"</s>"}),
    "chinese-alpaca": (["<s>"], [], {"</s>"}),
    "belle-llama-ext-7b": (["<s>"], [], {"</s>"}),
    "llmzoo-chimera-7b": (["<s>"], ["<s>"], {"</s>"}),
    "llmzoo": ([], ["<s>"], {"</s>"}),
    "bloomz": ([], [], {"</s>"}),
    "chatglm-6b": ([], ["[gMASK]", "<sop>"], {"<eop>"}),
    "moss": ([], [], {"<eom>"}),
    "gpt2-chinese": (["春"], ["鸟"], {"[SEP]", "[PAD]"}),
    "qwen2.5": (["<|im_start|>"], [], QWEN_ENDS),
    "qwen3": (["<|im_start|>"], [], QWEN_ENDS),
    "deepseek-r1": ([BOS, "<｜User｜>"], ["<think>"], {EOS}),
    "deepseek-r1-8b": ([BOS, "<｜User｜>"], ["<think>"], {EOS}),
    "glm-4": (["[gMASK]", "<sop>", "<|user|>"], ["<|assistant|>"], GLM_ENDS),
    "glm-4-z1-9b-0414": (["[gMASK]", "<sop>", "<|user|>"], ["<|assistant|>", "<think>"], GLM_ENDS),
    "glm-4-9b-chat": (["[gMASK]", "<sop>", "<|user|>"], ["<|assistant|>"], GLM_ENDS),
    "yi": (["<|im_start|>"], [], {"<|im_end|>"}),
    "minicpm": (["<|im_start|>"], [], {"<|im_end|>"}),
    "internlm": (["<s>", "<|im_start|>"], [], {"<|im_end|>", "</s>"}),
}
for _name in (*MARKS, *PRESETS):
    if PRESETS[_name].fields.lacks is None:
        ASSEMBLIES.setdefault(assembly_of(PRESETS[_name]), _name)


def tokens_of(engine: Engine, asked: str = "春眠不觉晓处处闻啼鸟") -> list[str]:
    model = engine._loaded()
    return list(engine.inspect(request(model.spec, asked), 0).tokens)


def ends_of(engine: Engine) -> set[str]:
    model = engine._loaded()
    return {model.codec.piece(id) for id in model.eos_ids}


@pytest.fixture(scope="module")
def engine() -> Engine:
    """One engine for all tests, so that it loads models of all families one after another."""
    return Engine()


def test_every_preset_finds_its_parts(preset: Preset) -> None:
    for name, one in PRESETS.items():
        if one.fields.lacks is None:
            spec = preset(name)
            assert (spec.name, spec.family, spec.format) == (
                name,
                one.fields.family,
                one.fields.format,
            )
            assert len(spec.adapters) == len(one.fields.adapters or ())


@pytest.mark.parametrize("name", ASSEMBLIES.values())
def test_three_rounds(name: str, preset: Preset, engine: Engine) -> None:
    spec = preset(name)
    _, loaded = load(spec, engine)
    assert (loaded.name, loaded.family, loaded.format) == (spec.name, spec.family, spec.format)
    assert loaded.context_limit == spec.context_limit or spec.context_limit is None
    three_rounds(engine, spec)
    if name in MARKS:
        check_marks(engine, name, *MARKS[name])


def check_marks(engine: Engine, name: str, first: list[str], last: list[str], ends: Any) -> None:
    tokens = tokens_of(engine)
    assert tokens[: len(first)] == first
    # Some templates break the line after the last mark.
    kept = [token for token in tokens if token.strip("Ċ")]
    assert kept[len(kept) - len(last) :] == last
    assert tokens.count("<s>") == ("<s>" in first) + (name.startswith("llmzoo")) * 2
    assert tokens.count(BOS) <= 1
    assert ends_of(engine) >= ends


def test_unsupported_presets_say_why() -> None:
    refused = {name: one.fields.lacks for name, one in PRESETS.items() if one.fields.lacks}
    assert refused
    for name, lacks in refused.items():
        with pytest.raises(ChatuiError) as caught:
            resolve(name, Settings())
        assert lacks.en in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_special_tokens_of_the_first_llama_conversion(preset: Preset) -> None:
    """Its files name neither <s> nor </s>, and its config the wrong ids."""
    engine, loaded = load(preset("luotuo", base=DECAPODA))
    tokens = tokens_of(engine)
    assert tokens[0] == "<s>"
    assert tokens.count("<s>") == 1
    assert "</s>" in ends_of(engine)
    assert loaded.context_limit == 2048


def test_a_chinese_vocabulary_is_used(preset: Preset) -> None:
    """With the adapter's tokenizer a rare character is one token, otherwise several bytes."""
    longer, _ = load(preset("chinese-alpaca-7b-plus"))
    shorter, _ = load(preset("luotuo"))
    assert "啼" in tokens_of(longer)
    assert "啼" not in tokens_of(shorter)
    model = longer._loaded()
    rows = model.network.prefill([1, 5], model.network.new_cache(), lambda: False)
    assert rows is not None
    assert model.codec.piece(len(rows) - 1) == "[PAD]"


def test_moss_ends_at_the_id_of_the_original(preset: Preset) -> None:
    engine, _ = load(preset("moss"))
    assert engine._loaded().eos_ids == {MOSS_EOM}
    assert "<eoh>" in tokens_of(engine)


def test_phoenix_reads_special_tokens(preset: Preset) -> None:
    """LLMZoo's prompt spells <s> and </s>: they are the special tokens, not their letters."""
    for name in ("llmzoo", "llmzoo-chimera-7b"):
        engine, _ = load(preset(name))
        asked = request(engine._loaded().spec, "春", [("花", "落")])
        tokens = engine.inspect(asked, 0).tokens
        assert tokens.count("</s>") == 3


@pytest.mark.parametrize("name", ["qwen3", "deepseek-r1", "glm-4-z1-9b-0414"])
def test_thoughts_are_left_out_of_later_prompts(name: str, preset: Preset) -> None:
    engine, _ = load(preset(name))
    reply = "<think>\n想了又想\n</think>\n\n花落知多少"
    history = [("春眠", reply if name == "qwen3" else reply.removeprefix("<think>\n"))]
    *_, done = generate(engine._loaded(), request(engine._loaded().spec, "鸟", history), bool)
    assert isinstance(done, Done)
    prompt = engine.inspect(request(engine._loaded().spec, "鸟", history), 0).prompt
    assert "想了又想" not in prompt
    assert "花落知多少" in prompt
