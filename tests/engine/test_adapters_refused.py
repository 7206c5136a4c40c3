"""Adapters that do not fit or cannot be read are refused before anything is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import adapter_files
import pytest
import tiny_models
import torch
from adapter_files import ALL, logits_of
from asking import loaded, spec
from safetensors.torch import load_file, save_file

from chatui.engine import loading
from chatui.engine.engine import Engine
from chatui.errors import ChatuiError
from chatui.messages import Adapter

Maker = Callable[[str], Path]
IDS = [5, 9, 30, 12, 7]


@pytest.fixture(scope="module")
def busy(made: Maker) -> Engine:
    return loaded(made("llama"))


@pytest.fixture
def refusal(busy: Engine, made: Maker, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return the message of a refusal, which reads no weights and keeps the loaded model."""
    before = logits_of(busy, IDS)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the weights were read")

    def refuse(path: Path, family: str = "llama", **values: object) -> str:
        adapter = Adapter(str(path), **values)  # type: ignore[arg-type]
        with monkeypatch.context() as patch, pytest.raises(ChatuiError) as caught:
            patch.setattr(loading, "_load_weights", fail)
            patch.setattr(loading, "read_adapters", fail)
            busy.load(spec(made(family), adapters=(adapter,)), lambda _: None)
        assert torch.equal(logits_of(busy, IDS), before)
        sentence = str(caught.value)
        assert "\n" not in sentence
        assert sentence.endswith(".")
        assert sentence.count(". ") == 0
        return sentence

    return refuse


Refusal = Callable[..., str]


@pytest.fixture
def lora(made: Maker, tmp_path: Path) -> Path:
    return adapter_files.lora(made("llama"), tmp_path / "lora", ALL["llama"])


def set_config(folder: Path, **values: object) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_another_width(tmp_path: Path, refusal: Refusal) -> None:
    wide = tiny_models.llama(tmp_path / "wide-llama", hidden_size=64)
    folder = adapter_files.lora(wide, tmp_path / "wide-lora", ["q_proj"])
    set_config(folder, base_model_name_or_path="somebody/llama-13b")
    sentence = refusal(folder)
    assert "wide-lora" in sentence
    assert "base llama:" in sentence
    assert "64 → 64" in sentence
    assert "32 → 32" in sentence
    assert "somebody/llama-13b" in sentence


def test_another_family(made: Maker, tmp_path: Path, lora: Path, refusal: Refusal) -> None:
    assert "model.layers.0" in refusal(lora, "bloom")
    assert "bloom" in refusal(lora, "bloom")
    on_bloom = adapter_files.lora(made("bloom"), tmp_path / "on-bloom", ["query_key_value"])
    assert "query_key_value" in refusal(on_bloom)


def test_more_or_fewer_layers(tmp_path: Path, refusal: Refusal) -> None:
    deep = tiny_models.llama(tmp_path / "deep", num_hidden_layers=3)
    assert "layers.2" in refusal(adapter_files.lora(deep, tmp_path / "deep-lora", ["q_proj"]))
    flat = tiny_models.llama(tmp_path / "flat", num_hidden_layers=1)
    sentence = refusal(adapter_files.lora(flat, tmp_path / "flat-lora", ["q_proj"]))
    assert "fewer layers" in sentence
    assert "layers.1" in sentence


def test_another_vocabulary(made: Maker, tmp_path: Path, refusal: Refusal) -> None:
    """A LoRA pair of the head, trained with more tokens than the base has."""
    folder = adapter_files.lora(made("llama"), tmp_path / "lora", ["q_proj", "lm_head"], rows=500)
    tensors = load_file(folder / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if "lora_" in name}
    save_file(kept, folder / "adapter_model.safetensors")
    assert "lm_head" in refusal(folder)
    assert "500" in refusal(folder)


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "IA3", "ADALORA", "PROMPT_TUNING", "VERA"])
def test_unsupported_types(lora: Path, refusal: Refusal, kind: str) -> None:
    set_config(lora, peft_type=kind)
    assert kind in refusal(lora)
    assert "use LoRA, or" in refusal(lora)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"trainable_token_indices": [1]}, "trainable tokens"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"layer_replication": [[0, 1]]}, "layer replication"),
    ],
)
def test_unsupported_features(
    lora: Path, refusal: Refusal, config: dict[str, object], name: str
) -> None:
    set_config(lora, **config)
    assert name in refusal(lora)


def test_missing_files(lora: Path, made: Maker, tmp_path: Path, refusal: Refusal) -> None:
    assert "no adapter at" in refusal(tmp_path / "nothing")
    config = (lora / "adapter_config.json").read_text()
    (lora / "adapter_config.json").unlink()
    assert "no adapter_config.json" in refusal(lora)
    (lora / "adapter_config.json").write_text(config)
    (lora / "adapter_model.safetensors").unlink()
    assert "no weights" in refusal(lora)
    assert "--model" in refusal(made("gpt2_chinese"))
    (tmp_path / "empty").mkdir()
    assert "no adapter_config.json" in refusal(tmp_path / "empty")


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00", "[" * 100_000])
def test_a_broken_config(lora: Path, refusal: Refusal, text: str) -> None:
    (lora / "adapter_config.json").write_text(text)
    assert "adapter_config.json" in refusal(lora)


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": "many"},
        {"lora_alpha": [16]},
        {"alpha_pattern": ["q_proj"]},
        {"alpha_pattern": {"(": 3}},
        {"alpha_pattern": {"q_proj": "x"}},
        {"target_modules": 5},
        {"enable_lora": 7, "init_lora_weights": {}},
    ],
)
def test_a_config_with_wrong_values(
    lora: Path, refusal: Refusal, config: dict[str, object]
) -> None:
    set_config(lora, **config)
    assert "lora" in refusal(lora)


def test_truncated_files(lora: Path, refusal: Refusal) -> None:
    file = lora / "adapter_model.safetensors"
    whole = file.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 20, 3, 0):
        file.write_bytes(whole[:length])
        assert "adapter_model.safetensors" in refusal(lora)
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    assert "git lfs pull" in refusal(lora)
    file.write_bytes(whole)
    adapter_files.to_bin(lora)
    binary = lora / "adapter_model.bin"
    whole = binary.read_bytes()
    for length in (len(whole) - 1, len(whole) // 2, 20, 0):
        binary.write_bytes(whole[:length])
        assert "adapter_model.bin" in refusal(lora)


class Payload:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_with_code(lora: Path, tmp_path: Path, refusal: Refusal, zipped: bool) -> None:
    mark = tmp_path / "was-here"
    (lora / "adapter_model.safetensors").unlink()
    evil = {"base_model.model.lora_A.weight": Payload(mark)}
    for file in (lora / "adapter_model.bin", tmp_path / "chatglm-lora.pt"):
        torch.save(evil, file, _use_new_zipfile_serialization=zipped)
    assert "contains code" in refusal(lora)
    assert "contains code" in refusal(tmp_path / "chatglm-lora.pt")
    assert not mark.exists()


def test_an_incomplete_pair(lora: Path, refusal: Refusal) -> None:
    file = lora / "adapter_model.safetensors"
    tensors = load_file(file)
    one = next(name for name in tensors if "lora_B" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != one}, file)
    assert "incomplete" in refusal(lora)
    save_file(tensors | {one: tensors[one][:, :2].contiguous()}, file)
    assert "does not fit" in refusal(lora)
    save_file(tensors | {one: tensors[one].flatten()}, file)
    assert "incomplete" in refusal(lora)


def test_a_file_without_an_adapter(made: Maker, tmp_path: Path, refusal: Refusal) -> None:
    torch.save({"epoch": 3}, tmp_path / "state.pt")
    assert "is not an adapter" in refusal(tmp_path / "state.pt")
    assert "not an adapter" in refusal(made("llama") / "model.safetensors")
    (tmp_path / "words.txt").write_text("hello")
    assert "words.txt" in refusal(tmp_path / "words.txt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "list.pt" in refusal(tmp_path / "list.pt")


def test_a_prefix_on_another_family(tmp_path: Path, refusal: Refusal) -> None:
    state = {"transformer.prefix_encoder.embedding.weight": torch.zeros(5, 64)}
    torch.save(state, tmp_path / "prefix.pt")
    assert "ChatGLM-6B" in refusal(tmp_path / "prefix.pt")


def test_a_wrong_rank(tmp_path: Path, made: Maker, refusal: Refusal) -> None:
    file = tmp_path / "bare.pt"
    folder = adapter_files.lora(made("llama"), tmp_path / "bare-lora", ["q_proj"])
    torch.save(load_file(folder / "adapter_model.safetensors"), file)
    assert "rank 4, not 8" in refusal(file, rank=8)


def test_the_failing_adapter_of_several_is_named(
    made: Maker, lora: Path, tmp_path: Path, busy: Engine
) -> None:
    wide = tiny_models.llama(tmp_path / "wide-llama", hidden_size=64)
    other = adapter_files.lora(wide, tmp_path / "the-second", ["q_proj"])
    both = (Adapter(str(lora)), Adapter(str(other)))
    with pytest.raises(ChatuiError, match="the-second"):
        busy.load(spec(made("llama"), adapters=both), lambda _: None)


def test_a_failure_while_applying_keeps_the_previous_adapters(
    made: Maker, lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(made("llama"), adapters=(Adapter(str(lora)),))
    before = logits_of(engine, IDS)
    other = adapter_files.lora(
        made("llama"), tmp_path / "other", ["q_proj"], modules_to_save=["norm"], seed=9
    )
    real, calls = torch.nn.Module.register_forward_hook, []

    def fails(module: torch.nn.Module, hook: object) -> object:
        calls.append(module)
        if len(calls) == 2:
            raise MemoryError
        return real(module, hook)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(torch.nn.Module, "register_forward_hook", fails)
        engine.load(spec(made("llama"), adapters=(Adapter(str(other)),)), lambda _: None)
    assert torch.equal(logits_of(engine, IDS), before)
    engine.load(spec(made("llama")), lambda _: None)
    assert torch.equal(logits_of(engine, IDS), logits_of(loaded(made("llama")), IDS))
