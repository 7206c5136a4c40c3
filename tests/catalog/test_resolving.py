"""Resolving references to specs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from model_files import LLAMA, gguf, write_model

from chatui.catalog import resolve
from chatui.errors import ChatuiError
from chatui.messages import Adapter
from chatui.settings import Settings

Hub = Callable[[str], Path]


def test_options_override_settings_and_settings_override_presets() -> None:
    settings = Settings(
        dtype="bfloat16",
        device="cpu",
        device_map="auto",
        max_new_tokens=50,
        reply_reserve=99,
        sampling={"top_k": 7, "greedy": True},
    )
    spec = resolve("shiyou", settings)
    assert (spec.dtype, spec.device, spec.device_map) == ("bfloat16", "cpu", "auto")
    assert (spec.sampling.top_k, spec.sampling.greedy, spec.sampling.temperature) == (7, True, 0.7)
    assert (spec.sampling.max_new_tokens, spec.reply_reserve) == (50, 99)
    spec = resolve(
        "shiyou", settings, format="luotuo", dtype="float32", device="cuda:1", device_map="balanced"
    )
    assert (spec.format, spec.dtype, spec.device) == ("luotuo", "float32", "cuda:1")
    assert spec.device_map == "balanced"


@pytest.mark.parametrize("sampling", [{"topk": 3}, {"top_k": 0.5}, {"greedy": 3}])
def test_invalid_sampling_settings_are_refused(sampling: dict[str, float]) -> None:
    with pytest.raises(ChatuiError, match="sampling"):
        resolve("shiyou", Settings(sampling=sampling))


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("", "No model was given"),
        ("  ", "No model was given"),
        ("shiyo", "did you mean shiyou"),
        ("chatglm6b", "chatglm-6b"),
        ("../nowhere", "no file or folder"),
        ("THUDM/../chatglm-6b", "no file or folder"),
        ("a b/c", "no file or folder"),
        ("不存在的模型", "no model called"),
        ("no such model", "no model called"),
        ("x\ud800y", "no model called"),
        ("a\0b", "no model called"),
        ("x" * 5000, "no model called"),
        ("nobody/nothing", "`chatui pull nobody/nothing`"),
        ("moss", "`chatui pull moss`"),
        ("moss-int4", "cannot run here"),
        ("chatglm2-6b", "vLLM"),
        ("belle-llama", "decrypt.py"),
    ],
)
def test_unknown_references_are_refused(reference: str, said: str, hub: Hub) -> None:
    with pytest.raises(ChatuiError) as caught:
        resolve(reference, Settings())
    sentence = str(caught.value)
    assert said in sentence
    assert len(sentence.splitlines()) == 1
    sentence.encode()


def test_a_missing_embedded_model_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("chatui.locations.assets_folder", lambda: tmp_path)
    with pytest.raises(ChatuiError, match="reinstall chatui"):
        resolve("shiyou", Settings())


def test_an_adapter_preset_without_its_base_names_the_pull(hub: Hub) -> None:
    hub("hfl/chinese-alpaca-lora-7b")
    with pytest.raises(ChatuiError) as caught:
        resolve("chinese-alpaca", Settings())
    assert "yahma/llama-7b-hf" in str(caught.value)
    assert "hfl/" not in str(caught.value)
    assert "`chatui pull chinese-alpaca`" in str(caught.value)


def test_adapters_keep_their_order_and_the_last_gives_the_tokenizer(hub: Hub) -> None:
    write_model(hub("huggyllama/llama-13b"), LLAMA)
    plus, alpaca = hub("hfl/chinese-llama-plus-lora-13b"), hub("hfl/chinese-alpaca-plus-lora-13b")
    spec = resolve("Chinese-Alpaca-13B-Plus", Settings())
    assert [adapter.path for adapter in spec.adapters] == [str(plus), str(alpaca)]
    assert spec.tokenizer == str(alpaca)
    assert "huggyllama" in spec.path


def test_a_delta_preset_resolves(hub: Hub) -> None:
    write_model(hub("yahma/llama-7b-hf"), LLAMA)
    delta = write_model(hub("FreedomIntelligence/chimera-chat-7b-delta"), LLAMA)
    spec = resolve("chimera", Settings())
    assert (spec.delta, spec.tokenizer) == (str(delta), str(delta))


def test_a_folder_resolves(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "我的 模型", LLAMA)
    spec = resolve(str(folder), Settings())
    assert (spec.name, spec.path, spec.family) == ("我的 模型", str(folder), "llama")
    assert spec.format == "alpaca:article"
    assert resolve(str(folder / ".." / folder.name), Settings()).name == "我的 模型"


def test_a_model_in_a_settings_folder_resolves(tmp_path: Path) -> None:
    write_model(tmp_path / "models" / "mine", LLAMA)
    write_model(tmp_path / "models" / "somebody" / "theirs", LLAMA)
    settings = Settings(model_folders=(str(tmp_path / "models"),))
    assert resolve("mine", settings).name == "mine"
    assert resolve("somebody/theirs", settings).path.endswith("somebody/theirs")
    assert resolve("whoever/mine", settings).path.endswith("models/mine")


def test_a_cached_repository_resolves(hub: Hub) -> None:
    chat = {"chat_template": "{{ messages }}"}
    config = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    own = json.dumps({"do_sample": True, "temperature": 0.3, "top_k": 9})
    folder = hub("someone/My-Qwen.v2")
    write_model(
        folder, config, tokenizer_config__json=json.dumps(chat), generation_config__json=own
    )
    spec = resolve("someone/My-Qwen.v2", Settings())
    assert (spec.name, spec.path) == ("someone/My-Qwen.v2", str(folder))
    assert (spec.family, spec.format) == ("qwen3", "chat-template")
    assert (spec.sampling.temperature, spec.sampling.top_k) == (0.3, 9)


def test_a_modelscope_repository_resolves(tmp_path: Path, hub: Hub) -> None:
    folder = write_model(tmp_path / "modelscope" / "hub" / "Qwen" / "Qwen2___5-X", LLAMA)
    assert resolve("Qwen/Qwen2.5-X", Settings()).path == str(folder)


def test_a_repository_of_a_preset_gets_its_fields(hub: Hub) -> None:
    config = {"model_type": "bloom", "architectures": ["BloomForCausalLM"]}
    write_model(hub("BelleGroup/BELLE-7B-1M"), config)
    spec = resolve("BelleGroup/BELLE-7B-1M", Settings())
    assert (spec.name, spec.format) == ("BelleGroup/BELLE-7B-1M", "belle")
    assert spec.sampling.top_p == 0.95


def test_the_hub_id_of_an_adapter_resolves_to_its_preset(hub: Hub) -> None:
    write_model(hub("yahma/llama-7b-hf"), LLAMA)
    hub("silk-road/luotuo-lora-7b-0.3")
    spec = resolve("silk-road/luotuo-lora-7b-0.3", Settings())
    assert spec.format == "luotuo"
    assert len(spec.adapters) == 1


def test_an_adapters_folder_finds_its_base(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    file = tmp_path / "lora" / "adapter_config.json"
    file.write_text(json.dumps({"base_model_name_or_path": "a/base"}))
    with pytest.raises(ChatuiError, match="`chatui pull a/base`"):
        resolve(str(tmp_path / "lora"), Settings())
    base = write_model(hub("a/base"), LLAMA)
    spec = resolve(str(tmp_path / "lora"), Settings())
    assert (spec.path, spec.adapters) == (str(base), (Adapter(str(tmp_path / "lora")),))
    for itself in ({}, {"base_model_name_or_path": str(tmp_path / "lora")}):
        file.write_text(json.dumps(itself))
        with pytest.raises(ChatuiError, match="does not name"):
            resolve(str(tmp_path / "lora"), Settings())


def test_an_adapter_on_an_adapter_keeps_both(hub: Hub, tmp_path: Path) -> None:
    base = write_model(hub("a/base"), LLAMA)
    for name, below in (("first", "a/base"), ("second", str(tmp_path / "first"))):
        (tmp_path / name).mkdir()
        config = json.dumps({"base_model_name_or_path": below})
        (tmp_path / name / "adapter_config.json").write_text(config)
    spec = resolve(str(tmp_path / "second"), Settings())
    assert spec.path == str(base)
    assert [each.path for each in spec.adapters] == [
        str(tmp_path / "first"),
        str(tmp_path / "second"),
    ]


def test_adapters_are_added_after_the_presets_own(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "lora").mkdir()
    cached = hub("who/lora")
    spec = resolve(
        "shiyou", Settings(), adapters=[Adapter(str(tmp_path / "lora"), scale=2.0), "who/lora"]
    )
    assert spec.adapters == (Adapter(str(tmp_path / "lora"), 2.0), Adapter(str(cached)))
    with pytest.raises(ChatuiError, match="no adapter"):
        resolve("shiyou", Settings(), adapters=["./nowhere"])
    with pytest.raises(ChatuiError, match="chatui pull who/absent"):
        resolve("shiyou", Settings(), adapters=["who/absent"])


def test_a_gguf_file_uses_the_llama_cpp_backend(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(
        gguf(
            general__architecture="qwen3",
            qwen3__context_length=4096,
            tokenizer__chat_template="{{ x }}",
        )
    )
    spec = resolve(str(file), Settings())
    assert (spec.backend, spec.family, spec.format) == ("llama.cpp", "qwen3", "chat-template")
    assert resolve(str(tmp_path), Settings()).path == str(file)
    (tmp_path / "other.gguf").write_bytes(file.read_bytes())
    with pytest.raises(ChatuiError, match=r"other\.gguf, tiny\.gguf"):
        resolve(str(tmp_path), Settings())


@pytest.mark.parametrize("size", [0, 3, 10, 24, 30, 60, 90])
def test_a_truncated_gguf_is_refused(tmp_path: Path, size: int) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf(general__architecture="qwen3")[:size])
    with pytest.raises(ChatuiError, match="is not a GGUF file" if size < 4 else "truncated"):
        resolve(str(file), Settings())


def test_an_rwkv_file_resolves(reference: Path) -> None:
    spec = resolve(str(reference / "rwkv4" / "tiny.pth"), Settings())
    assert (spec.backend, spec.family, spec.format) == ("local", "rwkv", "chatrwkv")
    assert spec.sampling.penalty_decay == 0.996


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "is not a model"),
        ({"config.json": "{}"}, "does not say what kind"),
        ({"config.json": "{"}, "cannot be read"),
        ({"config.json": "[]"}, "cannot be read"),
        ({"config.json": "[" * 100_000}, "cannot be read"),
        ({"config.json": '{"model_type": "llama"}'}, "no weights"),
        ({"config.json": '{"model_type": "baichuan"}'}, "--server"),
        (
            {"config.json": '{"model_type": "bert", "architectures": ["BertModel"]}'},
            "generates text",
        ),
        (
            {
                "config.json": '{"model_type": "llama"}',
                "model.safetensors.index.json": '{"weight_map": {"a": "one.safetensors"}}',
            },
            "one.safetensors is missing or damaged",
        ),
        (
            {
                "config.json": '{"model_type": "llama"}',
                "one.safetensors": "",
                "model.safetensors.index.json": '{"weight_map": {"a": "one.safetensors"}}',
            },
            "one.safetensors is missing or damaged",
        ),
        (
            {
                "config.json": '{"model_type": "llama"}',
                "model.safetensors.index.json": "{",
            },
            "model.safetensors.index.json is missing or damaged",
        ),
    ],
)
def test_folders_without_a_model_are_refused(
    tmp_path: Path, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ChatuiError) as caught:
        resolve(str(tmp_path), Settings())
    assert said in str(caught.value)


def test_the_thinking_setting_overrides_the_presets() -> None:
    assert resolve("shiyou", Settings()).think is None
    assert resolve("shiyou", Settings(think=False)).think is False


def test_the_window_comes_from_option_setting_or_preset() -> None:
    assert resolve("shiyou", Settings()).context is None
    assert resolve("shiyou", Settings(context=300)).context == 300
    # The embedded model's own window is smaller, which needs no note at each start.
    assert resolve("shiyou", Settings(context=8192)).context == 512
    assert resolve("shiyou", Settings(context=300), context=9000).context == 9000
    assert resolve("shiyou", Settings(context=300), context="auto").context is None
