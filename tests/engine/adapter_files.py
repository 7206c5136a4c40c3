"""Adapters with random weights, in the formats of peft and earlier programs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

ALL = {
    "gpt2_chinese": ["c_attn", "c_proj", "c_fc"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "bloom": ["query_key_value", "dense"],
    "qwen2": ["q_proj", "v_proj", "down_proj"],
    "moss": ["qkv_proj", "out_proj", "fc_in"],
}
"""Modules to adapt, by family."""


# Rendering peft's model card takes longer than everything else.
PeftModel.create_or_update_model_card = lambda *_: None

_adapters: dict[tuple[object, ...], dict[str, bytes]] = {}


def base_of(folder: Path) -> Any:
    """Load a folder's network with transformers' own loader, in float32."""
    return copy.deepcopy(_base_in(folder, _version(folder)))


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(file.stat().st_mtime_ns for file in sorted(folder.glob("*.*")))


@cache
def _base_in(folder: Path, version: tuple[int, ...]) -> Any:
    if (folder / "config.json").read_text().find('"chatglm"') >= 0:
        from chatui.engine.architectures.chatglm.modeling import ChatGLMForCausalLM

        return ChatGLMForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    config = transformers.CodeGenConfig.from_pretrained(folder) if "moss" in folder.name else None
    maker: Any = transformers.CodeGenForCausalLM if config else transformers.AutoModelForCausalLM
    return maker.from_pretrained(folder, config=config, dtype=torch.float32).eval()


def lora(
    base: Path, folder: Path, targets: Sequence[str] | str, *, seed: int = 1, rows: int = 0,
    tokenizer: Any = None, **config: Any,
) -> Path:  # fmt: skip
    """Save a PEFT LoRA with random weights for the model in ``base``."""
    key = base, _version(base), repr((targets, seed, rows, config))
    if key not in _adapters:
        model = base_of(base)
        if rows:
            model.resize_token_embeddings(rows, mean_resizing=False)
        wanted = {"r": 4, "lora_alpha": 16, "task_type": "CAUSAL_LM"} | config
        peft = get_peft_model(model, LoraConfig(target_modules=targets, **wanted))
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in peft.parameters():
                if parameter.requires_grad:
                    parameter.normal_(0, 0.1)
        peft.save_pretrained(folder)
        _adapters[key] = {file.name: file.read_bytes() for file in folder.iterdir()}
    folder.mkdir(exist_ok=True)
    for name, content in _adapters[key].items():
        (folder / name).write_bytes(content)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def expected(base: Path, ids: Sequence[int], *folders: Path, rows: int = 0) -> torch.Tensor:
    """Return peft's next logits, ``[vocabulary]``, merging one adapter after another."""
    model = base_of(base)
    for folder in folders:
        if rows:
            model.resize_token_embeddings(rows, mean_resizing=False)
        model = PeftModel.from_pretrained(model, folder).eval()
        if folder is not folders[-1]:
            model = model.merge_and_unload()
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([ids])).logits[0, -1]
    return logits


def logits_of(engine: Any, ids: Sequence[int]) -> torch.Tensor:
    """Return the engine's logits of the next token, ``[vocabulary]``."""
    network = engine._loaded().network
    logits = network.prefill(list(ids), network.new_cache(), lambda: False)
    assert logits is not None
    return logits


def to_bin(folder: Path) -> Path:
    """Convert an adapter's safetensors file to adapter_model.bin."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    return folder
