"""ChatGLM-6B against the golden data of its original code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DynamicCache

from chatui.engine.architectures.chatglm.attention import (
    next_position_ids,
    prompt_mask,
    prompt_position_ids,
)
from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM
from chatui.engine.architectures.chatglm.tokenization import ChatGLMTokenizer

TOLERANCE = 2e-3
CASES = 7


@pytest.fixture(scope="module")
def folder(reference: Path) -> Path:
    return reference / "chatglm-6b"


@pytest.fixture(scope="module")
def golden(folder: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((folder / "golden.json").read_text("utf-8"))
    return cases


@pytest.fixture(scope="module")
def model(folder: Path) -> ChatGLMForCausalLM:
    return ChatGLMForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)


def check(
    model: ChatGLMForCausalLM, ids: list[int], case: dict[str, Any], top: str, greedy: str
) -> None:
    """Compare a prompt's last logits and the greedy tokens after it."""
    prompt = torch.tensor([ids])
    positions = prompt_position_ids(prompt, model.config)
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        logits = model(prompt, cache=cache).logits[0, -1]
        assert (logits[:64] - torch.tensor(case["last_logits_first64"])).abs().max() <= TOLERANCE
        for index, value in case[top]:
            assert abs(float(logits[index]) - value) <= TOLERANCE
        reply: list[int] = []
        for _ in case[greedy]:
            reply.append(int(logits.argmax()))
            positions = next_position_ids(positions)
            step = torch.tensor([reply[-1:]])
            logits = model(step, position_ids=positions, cache=cache).logits[0, -1]
    assert reply == case[greedy]


@pytest.mark.parametrize("index", range(CASES))
def test_golden_cases(
    original: ChatGLMTokenizer, model: ChatGLMForCausalLM, golden: list[dict[str, Any]], index: int
) -> None:
    case = golden[index]
    assert original.encode(case["prompt"]) == case["input_ids"]
    ids = torch.tensor([case["input_ids"]])
    assert prompt_position_ids(ids, model.config)[0].tolist() == case["position_ids"]
    hidden, expected = prompt_mask(ids, model.config), case["attention_mask_true_means_hidden"]
    assert (list(hidden.shape), int(hidden.sum())) == (expected["shape"], expected["hidden_count"])
    check(model, case["input_ids"], case, "last_logits_top8", "greedy_32")
    assert original.decode(case["greedy_32"]) == case["greedy_text"]


def test_golden_cases_in_int4(folder: Path, golden: list[dict[str, Any]], tmp_path: Path) -> None:
    state = load_file(folder / "int4_layers.safetensors")
    plain = load_file(folder / "model/model.safetensors")
    for name in ("transformer.word_embeddings.weight", "lm_head.weight"):
        state[name] = plain[name]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "model/config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_bit": 4}))
    model = ChatGLMForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    shutil.rmtree(tmp_path)
    ids = {case["case"]: case["input_ids"] for case in golden}
    cases = json.loads((folder / "golden_int4.json").read_text("utf-8"))
    assert cases
    for case in cases:
        check(model, ids[case["case"]], case, "top5", "greedy_16")
