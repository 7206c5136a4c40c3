"""Loading of models: recognition, errors, and the model that stays after an error."""

from __future__ import annotations

import json
import pickle
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece
import tiny_models
import torch
import transformers
from asking import FAMILIES, ask, loaded, parts, spec
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from chatui.catalog import memory_need
from chatui.engine import placement
from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import Loaded, Loading

Maker = Callable[[str], Path]
Refusal = Callable[..., str]

RECOGNISED = {
    "gpt2_chinese": ("gpt2", "gpt2-chinese"),
    "llama": ("llama", "alpaca:article"),
    "bloom": ("bloom", "bloomz"),
    "qwen2": ("qwen2", "chat-template"),
    "moss": ("moss", "moss"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_family_and_format_are_recognised(made: Maker, family: str) -> None:
    events: list[Loading] = []
    summary = Engine().load(spec(made(family)), events.append)
    assert (summary.family, summary.format) == RECOGNISED[family]
    assert summary.weight_bytes == 4 * summary.parameters
    assert summary.dtype == "float32"
    size = (made(family) / "model.safetensors").stat().st_size
    assert events[-1].done_bytes == events[-1].total_bytes
    assert 0.8 * size < events[-1].total_bytes < size


@pytest.mark.parametrize(
    ("family", "stored"),
    [*((family, "float32") for family in FAMILIES), ("llama", "float16"), ("moss", "bfloat16")],
)
def test_loaded_tensors_equal_from_pretrained(tmp_path: Path, family: str, stored: str) -> None:
    """For safetensors and sharded .bin files, mapped and converted."""
    folder = getattr(tiny_models, family)(tmp_path / family, dtype=stored)
    kind = transformers.CodeGenForCausalLM if family == "moss" else None
    config = transformers.CodeGenConfig.from_pretrained(folder) if family == "moss" else None
    maker = kind or transformers.AutoModelForCausalLM
    expected = maker.from_pretrained(folder, config=config, dtype=torch.float32).state_dict()
    for change in (lambda: folder, lambda: tiny_models.to_bin(folder)):
        engine = loaded(change())
        model = engine._loaded().network.model  # type: ignore[union-attr, attr-defined]
        state = model.state_dict()
        assert state.keys() == expected.keys()
        for key, tensor in state.items():
            assert tensor.dtype == expected[key].dtype
            assert torch.equal(tensor, expected[key]), key


def test_dtypes(tmp_path: Path) -> None:
    folder = tiny_models.llama(tmp_path / "half", dtype="float16")
    summary = Engine().load(spec(folder), lambda _: None)
    assert summary.dtype == "float32"
    assert not any("float16" in note for note in summary.notes), "small models get no note"
    summary = Engine().load(spec(folder, dtype="bfloat16"), lambda _: None)
    assert summary.dtype == "bfloat16"
    assert summary.weight_bytes == 2 * summary.parameters
    with pytest.raises(ChatuiError, match="float8"):
        loaded(folder, dtype="float8")
    with pytest.raises(ChatuiError, match="cuda:7"):
        loaded(folder, device="cuda:7")
    with pytest.raises(ChatuiError, match="toaster"):
        loaded(folder, device="toaster")


def test_files_from_before_pytorch_1_6_are_read(copied: Maker) -> None:
    """They are not zip archives."""
    folder = copied("llama")
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert parts(ask(loaded(folder)))[2].text == parts(ask(loaded(copied_from(folder))))[2].text


def copied_from(folder: Path) -> Path:
    tensors = torch.load(folder / "pytorch_model.bin", weights_only=True)
    (folder / "pytorch_model.bin").unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_config_without_model_type(copied: Maker) -> None:
    folder = copied("llama")
    tiny_models.set_config(folder, model_type=None, architectures=["LLaMAForCausalLM"])
    assert parts(ask(loaded(folder)))[2].output_ids


@pytest.fixture(scope="module")
def busy(made: Maker) -> tuple[Engine, str]:
    """An engine with a model, and that model's reply."""
    engine = loaded(made("gpt2_chinese"))
    return engine, parts(ask(engine, max_new_tokens=3))[2].text


@pytest.fixture
def refusal(busy: tuple[Engine, str]) -> Callable[..., str]:
    """Return the error sentence of a load, after checking that the previous model still works."""
    engine, answer = busy

    def refuse(folder: Path, **values: object) -> str:
        with pytest.raises(ChatuiError) as caught:
            engine.load(spec(folder, **values), lambda _: None)
        assert parts(ask(engine, max_new_tokens=3))[2].text == answer
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert sentence.endswith(".")
        return sentence

    return refuse


def test_no_such_path(tmp_path: Path, refusal: Refusal) -> None:
    assert "no model at" in refusal(tmp_path / "nothing")


def test_not_a_model_folder(tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "empty").mkdir()
    assert "config.json" in refusal(tmp_path / "empty")
    (tmp_path / "file.txt").write_text("hello")
    assert "is a file" in refusal(tmp_path / "file.txt")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert "--lora" in refusal(adapter)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "\x00", "{}", '{"model_type": 5}', "[" * 100_000],
    ids=("empty", "list", "open", "nul", "nothing", "number", "deep"),
)
def test_a_broken_config(copied: Maker, text: str, refusal: Refusal) -> None:
    folder = copied("llama")
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)


def test_an_unsupported_architecture(copied: Maker, refusal: Refusal) -> None:
    folder = copied("llama")
    tiny_models.set_config(folder, model_type="hal9000")
    assert "hal9000" in refusal(folder)
    tiny_models.set_config(folder, model_type="bert", architectures=["BertModel"])
    assert refusal(folder)


def test_config_without_weights(copied: Maker, refusal: Refusal) -> None:
    folder = copied("llama")
    (folder / "model.safetensors").unlink()
    assert "no weights" in refusal(folder)


def test_truncated_safetensors(copied: Maker, refusal: Refusal) -> None:
    folder = copied("llama")
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 100, 8, 3, 0):
        file.write_bytes(whole[:length])
        assert "model.safetensors" in refusal(folder)
    file.write_bytes(whole + b"x")
    assert "damaged" in refusal(folder)
    file.write_bytes(b"\xff" * len(whole))
    assert "header" in refusal(folder)
    file.write_bytes((5).to_bytes(8, "little") + b"hello" + b"x" * 100)
    assert "weights" in refusal(folder)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    assert "git lfs pull" in refusal(folder)


def test_shards(copied: Maker, refusal: Refusal) -> None:
    folder = tiny_models.to_bin(copied("llama"))
    first, second = sorted(folder.glob("pytorch_model-*.bin"))
    kept = first.read_bytes()
    first.unlink()
    assert first.name in refusal(folder)
    first.write_bytes(kept[: len(kept) // 2])
    assert "truncated" in refusal(folder)
    first.write_bytes(b"PK\x03\x04" + kept[10:])
    assert first.name in refusal(folder)
    first.write_bytes(second.read_bytes())
    assert "does not match the index" in refusal(folder)
    first.write_bytes(kept)
    (folder / "pytorch_model.bin.index.json").write_text('{"weight_map": {}}')
    assert "weight_map" in refusal(folder)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch /tmp/chatui-was-here",)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_and_never_run(
    copied: Maker, zipped: bool, refusal: Refusal
) -> None:
    folder = copied("llama")
    (folder / "model.safetensors").unlink()
    file = folder / "pytorch_model.bin"
    torch.save({"model": Payload()}, file, _use_new_zipfile_serialization=zipped)
    assert "contains code" in refusal(folder)
    file.write_bytes(pickle.dumps(Payload()))
    assert "contains code" in refusal(folder)
    assert not Path("/tmp/chatui-was-here").exists()


def test_weights_of_another_shape(copied: Maker, refusal: Refusal) -> None:
    folder = copied("llama")
    tiny_models.set_config(folder, hidden_size=64)
    assert "shape" in refusal(folder)
    tiny_models.set_config(folder, hidden_size=32, num_hidden_layers=3)
    assert "lack" in refusal(folder)


def test_tokenizer_missing_or_broken(copied: Maker, refusal: Refusal) -> None:
    folder = copied("llama")
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    assert "tokenizer" in refusal(folder)
    (folder / "tokenizer.json").unlink()
    assert "no tokenizer" in refusal(folder)


def test_a_missing_chat_template(copied: Maker, refusal: Refusal) -> None:
    assert "--format" in refusal(copied("llama"), format="chat-template")


def test_a_context_window_of_0(made: Maker, tmp_path: Path) -> None:
    with pytest.raises(ChatuiError, match="context window of 0"):
        loaded(made("llama"), context_limit=0)


def test_quantised_moss_is_refused(copied: Maker, refusal: Refusal) -> None:
    folder = copied("moss")
    tiny_models.set_config(folder, wbits=4)
    assert "--weights int4" in refusal(folder)


def test_moss_runs_in_int4(made: Maker) -> None:
    summary = loaded(made("moss"), weights="int4")._loaded().summary
    assert summary.dtype == "int4" and summary.weight_bytes < 2 * summary.parameters


def test_too_little_memory(made: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tiny_models.llama(tmp_path / "half", dtype="float16")
    monkeypatch.setattr(memory_need, "WORKSPACE", 0)
    full = _size(folder, torch.float32)
    half = _size(folder, torch.bfloat16)
    monkeypatch.setattr("chatui.engine.placement.available_bytes", lambda _: half)
    summary = Engine().load(spec(folder), lambda _: None)
    assert summary.dtype == "bfloat16"
    assert any("bfloat16" in note for note in summary.notes)
    with pytest.raises(ChatuiError, match=r"B is free.*bfloat16"):
        loaded(folder, dtype="float32")
    monkeypatch.setattr("chatui.engine.placement.available_bytes", lambda _: 0)
    with pytest.raises(ChatuiError, match="smaller model"):
        loaded(folder)
    assert full > half


def _size(folder: Path, dtype: torch.dtype) -> int:
    from chatui.engine.loading import plan_load
    from chatui.engine.weights import find_weights

    config = plan_load(spec(folder)).config
    return placement.memory_need(find_weights(folder), config).total(dtype.itemsize, 512)


def test_a_switch_counts_freed_memory(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Converted weights are copies and are freed; mapped weights free nothing.
    folder = made("llama")
    copied, mapped = loaded(folder, dtype="bfloat16"), loaded(folder)
    monkeypatch.setattr(memory_need, "WORKSPACE", 0)
    lacking = _size(folder, torch.bfloat16) - 1
    monkeypatch.setattr("chatui.engine.placement.available_bytes", lambda _: lacking)
    wanted = spec(folder, dtype="bfloat16")
    for engine in (Engine(), mapped):
        with pytest.raises(ChatuiError, match="is free"):
            engine.load(wanted, lambda _: None)
    assert isinstance(copied.load(wanted, lambda _: None), Loaded)


def test_the_tokenizer_of_the_previous_model_is_freed(made: Maker) -> None:
    engine = loaded(made("qwen2"))
    base = engine._loaded().adaptable_base
    assert base is not None
    tokenizer = weakref.ref(base.plan.tokenizer)
    del base
    engine.load(spec(made("llama")), lambda _: None)
    assert tokenizer() is None


def test_a_device_map_places_the_model(made: Maker) -> None:
    engine = loaded(made("llama"), device_map="auto")
    assert parts(ask(engine))[2].text == parts(ask(loaded(made("llama"))))[2].text


def test_eos_tokens_include_the_templates_end_of_turn(made: Maker) -> None:
    engine = loaded(made("qwen2"))
    model = engine._loaded()
    vocabulary = json.loads((made("qwen2") / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {token["content"]: token["id"] for token in vocabulary["added_tokens"]}
    assert model.eos_ids == {ids["<|endoftext|>"], ids["<|im_end|>"]}


@pytest.mark.parametrize("value", ['{"a": 1}', "[[2]]", '"</s>"', "null"])
def test_a_damaged_generation_config(copied: Maker, value: str) -> None:
    folder = copied("llama")
    (folder / "generation_config.json").write_text(f'{{"eos_token_id": {value}}}')
    assert loaded(folder)._loaded().eos_ids == {2}


def test_moss_ends_at_eom(made: Maker) -> None:
    added = json.loads((made("moss") / "added_tokens.json").read_text())
    assert added["<eom>"] in loaded(made("moss"))._loaded().eos_ids


def test_moss_reads_its_marks_as_single_tokens(made: Maker) -> None:
    model = loaded(made("moss"))._loaded()
    added = json.loads((made("moss") / "added_tokens.json").read_text())
    ids = model.codec.encode("<|Human|>: 你好<eoh>\n<|MOSS|>: 好<eom>")
    assert {added[mark] for mark in ("<|Human|>", "<eoh>", "<|MOSS|>", "<eom>")} <= set(ids)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model with LLaMA's training options."""
    prefix = tmp_path_factory.mktemp("pieces") / "tokenizer"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(list(tiny_models.TEXTS) * 20),
        model_prefix=str(prefix),
        vocab_size=380,
        model_type="bpe",
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    return prefix.with_suffix(".model")


@pytest.mark.parametrize(
    "settings",
    [
        None,
        {"tokenizer_class": "LLaMATokenizer", "bos_token": "", "eos_token": "", "unk_token": ""},
        {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>"},
        {"tokenizer_class": "LlamaTokenizer", "add_bos_token": False},
    ],
    ids=("none", "decapoda", "yahma", "without bos"),
)
def test_llama_with_only_a_sentencepiece_model(
    copied: Maker, pieces: Path, settings: dict[str, object] | None
) -> None:
    """Its ids are <s> and those of SentencePiece itself, as in 2023."""
    folder = copied("llama")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "tokenizer.model").write_bytes(pieces.read_bytes())
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    library = sentencepiece.SentencePieceProcessor(model_file=str(pieces))
    model = loaded(folder, format="bloomz")._loaded()
    start = [] if settings and settings.get("add_bos_token") is False else [1]
    for text in ("春眠不觉晓，处处闻啼鸟。", "Below is an instruction", "龘 rare 𠮷", "a  b\n\nc"):
        ids = model.codec.encode(text)
        assert ids == [*start, *library.encode(text)]
        detokenizer = model.codec.detokenizer()
        assert "".join(detokenizer.add(id) for id in ids) + detokenizer.flush() == text
    # SentencePiece encodes each part, so the text after a special token gets a space again.
    marked = model.codec.encode("Human</s>Human")
    assert marked == [*start, *library.encode("Human"), 2, *library.encode("Human")]
    assert 2 in model.eos_ids


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "LlamaTokenizerFast", "LLaMATokenizer", None])
def test_a_tokenizer_json_is_used_unchanged(copied: Maker, kind: str | None) -> None:
    folder = copied("llama")
    settings = {"tokenizer_class": kind} if kind else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    model = loaded(folder)._loaded()
    exact = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in (*tiny_models.TEXTS, "春眠 a  b\n</s>Human<s>x"):
        assert model.codec.encode(text) == exact.encode(text).ids
    assert model.codec.encode("a")[0] == 1
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"add_bos_token": False}))
    assert loaded(folder)._loaded().codec.encode("a")[0] != 1


def test_a_config_with_far_larger_tensors_than_the_files(copied: Maker, refusal: Refusal) -> None:
    folder = copied("llama")
    tiny_models.set_config(folder, vocab_size=2_000_000_000)
    assert "do not match its config.json" in refusal(folder)


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("llama", {"hidden_size": "abc"}),
        ("llama", {"num_attention_heads": 0}),
        ("llama", {"dtype": []}),
        ("llama", {"model_type": None, "architectures": ["LLaMAForCausalLM"], "dtype": "abc"}),
        ("moss", {"n_embd": "abc"}),
        ("moss", {"rope_scaling": "abc"}),
    ],
)
def test_a_config_with_wrong_values(
    copied: Maker, refusal: Refusal, family: str, values: dict[str, object]
) -> None:
    folder = copied(family)
    tiny_models.set_config(folder, **values)
    assert "does not describe a valid network" in refusal(folder)
