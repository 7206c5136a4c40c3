"""Weights quantised while loading, against the network with the dequantised weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import adapter_files
import pytest
import tiny_models
import torch
from adapter_files import ALL, base_of, logits_of
from asking import FAMILIES, ask, loaded, parts, spec
from safetensors.torch import load_file, save_file
from test_adapters_vocabulary import TABLES, WORDS, longer
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from chatui.engine import architecture, int8_weight, loading, placement
from chatui.engine.engine import Engine
from chatui.engine.placement import memory_need
from chatui.engine.quantised import (
    dequantised_weight,
    is_packed,
    quantised_needs,
    shape_of,
    weight_bytes,
)
from chatui.engine.tuning.lora_base import TuningOptions, add_lora, load_base
from chatui.engine.weights import find_weights
from chatui.errors import ChatuiError
from chatui.messages import Adapter, Loaded

BITS = ("int8", "int4")
Maker = Callable[[str], Path]
IDS = [5, 9, 30, 12, 7, 41, 22]
CLOSE = {"atol": 1e-4, "rtol": 1e-4}
NEAR = {"atol": 2e-2, "rtol": 1e-3}
"""Tolerance of products with 14-bit states."""
WIDE: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 128, "intermediate_size": 192},
    "qwen2": {"hidden_size": 128, "intermediate_size": 192},
}
"""Sizes for which attention and MLP are quantised."""


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    root = tmp_path_factory.mktemp("wide")

    def make(family: str) -> Path:
        folder = root / family
        maker: Any = getattr(tiny_models, family)
        return folder if folder.exists() else Path(maker(folder, **WIDE.get(family, {})))

    return make


def network_of(engine: Engine) -> Any:
    return engine._loaded().network.model  # type: ignore[union-attr, attr-defined]


def unpacked(engine: Engine, plain: Any) -> Any:
    """Return ``plain`` with the dequantised weights of the engine's network."""
    others = dict(plain.named_modules())
    for name, module in network_of(engine).named_modules():
        if is_packed(module):
            weight = dequantised_weight(module, torch.float32)
            assert weight.shape == others[name].weight.shape
            others[name].weight.data = weight
    return plain


def summary_of(engine: Engine) -> Loaded:
    return engine._loaded().summary


@pytest.mark.parametrize(
    ("family", "weights", "codes"),
    [
        *((family, weights, weights == "int8") for family in FAMILIES for weights in BITS),
        ("llama", "int8", False),
        ("llama", "int4", True),
    ],
)
def test_logits_equal_those_of_the_dequantised_weights(
    wide: Maker, family: str, weights: str, codes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a prompt and for single tokens, with and without FBGEMM's products."""
    assert int8_weight.fbgemm_works(), "on this processor"
    monkeypatch.setattr(int8_weight, "MIN_ELEMENTS", 0 if codes else 1 << 40)
    close = NEAR if codes else CLOSE
    folder = wide(family)
    engine = loaded(folder, weights=weights)
    plain = base_of(folder)
    summary = summary_of(engine)
    assert summary.dtype == weights
    assert summary.parameters == sum(parameter.numel() for parameter in plain.parameters())
    held = weight_bytes(network_of(engine))
    assert summary.weight_bytes == held
    assert codes or held == sum(p.nbytes for p in network_of(engine).parameters())
    assert summary.weight_bytes < 4 * summary.parameters
    plain = unpacked(engine, plain)
    network: Any = engine._loaded().network
    cache = network.new_cache()
    with torch.inference_mode():
        expected = plain(input_ids=torch.tensor([IDS])).logits[0]
    found = network.prefill(IDS[:4], cache, lambda: False)
    torch.testing.assert_close(found, expected[3], **close)
    for place in range(4, len(IDS)):
        found = network.step(IDS[place], cache)
        torch.testing.assert_close(found, expected[place], **close)
    assert parts(ask(engine, max_new_tokens=2))[2].output_tokens


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_int8_logits_stay_close_to_float32(tmp_path: Path, stored: str) -> None:
    """For files in half precision too."""
    folder = tiny_models.llama(tmp_path / "half", dtype=stored, **WIDE["llama"])
    plain = logits_of(loaded(folder), IDS)
    for change in (lambda: folder, lambda: tiny_models.to_bin(folder)):
        found = logits_of(loaded(change(), weights="int8"), IDS)
        assert (found - plain).std() < 0.1 * plain.std()


def test_scaled_embeddings_stay_scaled(tmp_path: Path) -> None:
    """Gemma 3 scales its embeddings in a subclass of nn.Embedding."""
    config = Gemma3TextConfig(
        vocab_size=300, hidden_size=128, intermediate_size=192, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(3)
    folder = tmp_path / "gemma"
    Gemma3ForCausalLM(config).save_pretrained(folder)
    tiny_models.byte_fallback_tokenizer().save_pretrained(folder)
    engine = loaded(folder, weights="int8", format="alpaca:article")
    plain = unpacked(engine, Gemma3ForCausalLM.from_pretrained(folder, dtype=torch.float32))
    with torch.inference_mode():
        expected = plain.eval()(input_ids=torch.tensor([IDS])).logits[0, -1]
    torch.testing.assert_close(logits_of(engine, IDS), expected, **NEAR)


@pytest.mark.parametrize("family", ["gpt2_chinese", "llama"])
def test_a_lora_is_applied_and_removed(wide: Maker, tmp_path: Path, family: str) -> None:
    folder = wide(family)
    lora = adapter_files.lora(folder, tmp_path / "lora", ALL[family])
    engine = loaded(folder, weights="int4")
    before = logits_of(engine, IDS)
    plain = unpacked(engine, base_of(folder))
    merged = adapter_files.PeftModel.from_pretrained(plain, lora).eval()
    with torch.inference_mode():
        expected = merged(input_ids=torch.tensor([IDS])).logits[0, -1]
    engine.load(spec(folder, weights="int4", adapters=(Adapter(str(lora)),)), lambda _: None)
    torch.testing.assert_close(logits_of(engine, IDS), expected, **NEAR)
    engine.load(spec(folder, weights="int4"), lambda _: None)
    assert torch.equal(logits_of(engine, IDS), before)


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("family", ["gpt2_chinese", "llama"])
def test_gradients_equal_those_of_the_dequantised_weights(
    wide: Maker, family: str, weights: str
) -> None:
    """Only the LoRA gets gradients."""
    folder = wide(family)
    made = []
    for base in (
        load_base(spec(folder, weights=weights))[0],
        unpacked(loaded(folder, weights=weights), base_of(folder)),
    ):
        torch.manual_seed(0)
        options = TuningOptions(rank=4, alpha=8, dropout=0, targets=tuple(ALL[family]))
        network = add_lora(base, family.partition("_")[0], options)
        learned = {name: each for name, each in network.named_parameters() if each.requires_grad}
        with torch.no_grad():
            for weight in learned.values():
                weight.normal_(0, 0.1)
        ids = torch.tensor([IDS])
        network(input_ids=ids, labels=ids).loss.backward()
        assert {name for name, each in network.named_parameters() if each.grad is not None} == set(
            learned
        )
        made.append({name: weight.grad for name, weight in learned.items()})
    found, expected = made
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, **NEAR)


@pytest.mark.parametrize("saved", [TABLES, None])
def test_an_adapter_can_change_the_vocabulary(
    wide: Maker, tmp_path: Path, saved: list[str] | None
) -> None:
    """With the adapter's tables, or with the base's, dequantised and extended."""
    folder, tokenizer = wide("llama"), longer(*WORDS)
    rows = len(tokenizer)
    lora = adapter_files.lora(
        folder, tmp_path / "lora", ALL["llama"], rows=rows if saved else 0, tokenizer=tokenizer,
        **({"modules_to_save": saved} if saved else {}),
    )  # fmt: skip
    engine = loaded(folder, weights="int8")
    before = logits_of(engine, IDS)
    engine.load(spec(folder, weights="int8", adapters=(Adapter(str(lora)),)), lambda _: None)
    assert logits_of(engine, IDS).shape == (rows,)
    engine.load(spec(folder, weights="int8"), lambda _: None)
    assert torch.equal(logits_of(engine, IDS), before)


def test_auto_quantises_if_a_model_does_not_fit(
    wide: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries bfloat16, int8 and int4 in this order, and names what would fit."""
    plans: list[Any] = []
    place = placement.place

    def noted(*args: Any) -> Any:
        plans.append((args[2], args[5]))
        return place(*args)

    monkeypatch.setattr(loading, "place", noted)
    folder = wide("llama")
    loading.plan_load(spec(folder))
    need, smaller = plans[0]
    assert smaller[4].total(4, 512) < smaller[8].total(4, 512) < need.total(4, 512)

    def with_room(free: int, **values: Any) -> Any:
        monkeypatch.setattr(placement, "available_bytes", lambda _: free)
        plan: Any = loading.plan_load(spec(folder, context=512, **values))
        return plan.placement

    for bits, free in ((8, smaller[8].total(4, 512)), (4, smaller[4].total(4, 512))):
        found = with_room(free)
        assert (found.bits, found.dtype) == (bits, torch.float32)
        assert f"int{bits}" in found.notes[0]
        with pytest.raises(ChatuiError, match=f"--weights int{bits}"):
            with_room(free, weights="plain")
        assert with_room(free, weights=f"int{bits}").notes == ()
    assert with_room(need.total(4, 512)).bits is None
    with pytest.raises(ChatuiError, match="as int8"):
        with_room(smaller[4].total(4, 512), weights="int8")


def test_the_memory_estimate_is_exact(wide: Maker) -> None:
    engine = loaded(wide("qwen2"), weights="int4")
    network = base_of(wide("qwen2"))
    numbers = sum(parameter.numel() for parameter in network.parameters())
    need = quantised_needs(network, loading.MemoryNeed(numbers))[4]
    size = summary_of(engine).weight_bytes
    assert need.packed + 4 * need.floats == size


def test_quantised_checkpoints_are_refused(wide: Maker, tmp_path: Path) -> None:
    folder = tiny_models.llama(tmp_path / "packed")
    tiny_models.set_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})
    asked = {"weights": "int4", "weights_required": True}
    with pytest.raises(ChatuiError, match="quantised already, so --weights int4"):
        loaded(folder, **asked)
    with pytest.raises(ChatuiError, match="device map"):
        loaded(wide("llama"), device_map="auto", **asked)
    engine = loaded(wide("llama"), device_map="auto", weights="int4")
    assert summary_of(engine).dtype == "float32", "a setting is for what can be quantised"


@pytest.mark.parametrize("method", ["awq", "bitsandbytes", "compressed-tensors", "gptq", "torchao"])
def test_a_missing_library_is_named(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_models.llama(tmp_path / method)
    tiny_models.set_config(folder, quantization_config={"quant_method": method, "bits": 4})
    monkeypatch.setattr(architecture, "find_spec", lambda _: None)
    with pytest.raises(ChatuiError, match=rf"quantised with {method}, .* pip install [a-z -]+\."):
        loaded(folder)


def test_8_bit_floats_are_dequantised(tmp_path: Path) -> None:
    """As in DeepSeek-V3 and Qwen3-FP8, with a scale for each block of 128 by 128."""
    sizes = {"hidden_size": 128, "intermediate_size": 256}
    folder = tiny_models.llama(tmp_path / "fp8", **sizes)
    file = folder / "model.safetensors"
    weights = load_file(file)
    expected = {}
    for name in [name for name in weights if name.endswith("proj.weight")]:
        rows, columns = (-(-size // 128) for size in weights[name].shape)
        scale = 0.5 + torch.rand(rows, columns)
        weights[f"{name}_scale_inv"] = scale
        weights[name] = weights[name].to(torch.float8_e4m3fn)
        whole = scale.repeat_interleave(128, 0).repeat_interleave(128, 1)
        expected[name] = weights[name].float() * whole[tuple(map(slice, weights[name].shape))]
    save_file(weights, file)
    tiny_models.set_config(
        folder, quantization_config={"quant_method": "fp8", "weight_block_size": [128, 128]}
    )
    network = network_of(loaded(folder))
    load_base(spec(folder))
    found = dict(network.named_parameters())
    assert expected and all(
        torch.allclose(found[name], weight, rtol=0.01) for name, weight in expected.items()
    )
    size = sum(parameter.numel() for parameter in network.parameters())
    assert memory_need(find_weights(folder), network.config).floats >= size


def test_a_weight_of_a_wrong_shape_is_named(tmp_path: Path) -> None:
    folder = tiny_models.llama(tmp_path / "odd", **WIDE["llama"])
    tiny_models.set_config(folder, intermediate_size=200)
    with pytest.raises(ChatuiError, match=r"down_proj.*192"):
        loaded(folder, weights="int8")


def test_small_linear_layers_are_not_quantised(made: Maker) -> None:
    """Such as routers of experts, which are small and sensitive."""
    network = network_of(loaded(made("llama"), weights="int8"))
    sizes = {shape_of(m)[0] for m in network.modules() if isinstance(m, torch.nn.Linear)}
    assert min(sizes) < 96 < max(sizes)
    for module in network.modules():
        if isinstance(module, torch.nn.Linear):
            assert is_packed(module) is (shape_of(module)[0] >= 96)
