"""Architectures that run with transformers' own forward, with various caches and tensor names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
import transformers
from adapter_files import logits_of
from asking import ask, loaded, parts

_SMALL = {"vocab_size": 360, "hidden_size": 32, "num_hidden_layers": 2, "initializer_range": 0.3}
_ATTENTION = {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
_DELTA = {
    "num_hidden_layers": 4, "num_experts": 4, "num_experts_per_tok": 2, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "head_dim": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        # The experts are separate tensors in the files and one tensor in the network.
        ("mixtral", _ATTENTION | {"num_local_experts": 4}),
        # The tensor names in the files differ from the network's.
        ("exaone", _ATTENTION),
        # Recurrent states only, without a token count.
        ("mamba", {"state_size": 8}),
        # A recurrent state and attention.
        ("qwen3_next", _ATTENTION | _DELTA),
        # A special cache class.
        ("minimax", _ATTENTION | {"num_local_experts": 4, "head_dim": 8, "block_size": 16}),
        # No cache.
        ("openai-gpt", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}),
    ],
)
def test_logits_of_a_long_prompt_equal_those_without_a_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, config: dict[str, Any]
) -> None:
    monkeypatch.setattr("chatui.engine.network._CHUNK_FLOP", 1.0)
    model = saved(tmp_path, kind, config)
    engine = loaded(tmp_path, device="cpu")
    first, _, done = parts(ask(engine, "春眠不觉晓，处处闻啼鸟。" * 6, max_new_tokens=6))
    ids = torch.tensor([first.input_ids])
    assert ids.shape[1] > 64
    with torch.inference_mode():
        for token in done.output_ids:
            assert token == int(model(ids, use_cache=False).logits[0, -1].argmax())
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_a_mamba_can_be_stopped_while_it_reads_a_prompt(tmp_path: Path) -> None:
    saved(tmp_path, "mamba", {"state_size": 8})
    engine = loaded(tmp_path, device="cpu")
    read: list[object] = []
    model: Any = engine._loaded().network.model  # type: ignore[attr-defined]
    for layer in model.backbone.layers:
        layer.register_forward_hook(lambda *_: read.append(None))
    done = parts(ask(engine, stop_wanted=lambda: bool(read)))[2]
    assert (done.finish_reason, done.output_ids, len(read)) == ("cancelled", (), 1)
    assert parts(ask(engine))[2].output_ids


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_weights_that_a_mamba_reads_directly_are_not_quantised(
    tmp_path: Path, weights: str
) -> None:
    model = saved(
        tmp_path, "mamba", {"state_size": 8, "hidden_size": 128, "initializer_range": 0.1}
    )
    ids = list(range(5, 30))
    found = logits_of(loaded(tmp_path, device="cpu", weights=weights, weights_required=True), ids)
    with torch.inference_mode():
        wanted = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    likeness = torch.nn.functional.cosine_similarity(
        found - found.mean(), wanted - wanted.mean(), 0
    )
    assert likeness > (0.98 if weights == "int8" else 0.8)


def saved(folder: Path, kind: str, config: dict[str, Any]) -> Any:
    """Save a small model with random weights and a tokenizer in ``folder``."""
    made = transformers.AutoConfig.for_model(
        kind, **{**_SMALL, **config, "bos_token_id": 0, "eos_token_id": 0}
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(made).eval()
    model.save_pretrained(folder)
    tokenizer = tiny_models.byte_level_tokenizer(["<|endoftext|>"], eos_token="<|endoftext|>")
    tokenizer.save_pretrained(folder)
    return model
