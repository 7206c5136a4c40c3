"""Adapters and a delta with random weights, in the file formats of their authors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import preset_checkpoints as checkpoints
import preset_pieces
import preset_tokenizers as tokenizers
import torch
import transformers
from preset_tokenizers import write_json
from safetensors.torch import load_file

LLAMA_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TABLES = ("model.embed_tokens.weight", "lm_head.weight")
WRAPPER = "base_model.model."


def state_of(folder: Path) -> checkpoints.State:
    """Return all tensors of a checkpoint under the names of the whole model."""
    found: checkpoints.State = {}
    for file in sorted(folder.glob("*.bin")):
        found |= torch.load(file, weights_only=True)
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    if "word_embeddings.weight" in found:
        return {f"transformer.{name}": tensor for name, tensor in found.items()}
    return found


def pairs(base: Path, targets: Sequence[str], rank: int, seed: int) -> checkpoints.State:
    """Return LoRA pairs, none of them zero, for the linear layers with these names."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, weight in state_of(base).items():
        module = name.removesuffix(".weight")
        if module != name and module.rpartition(".")[2] in targets:
            out, of = weight.shape
            made[f"{module}.lora_A.weight"] = 0.2 * torch.randn((rank, of), generator=generator)
            made[f"{module}.lora_B.weight"] = 0.2 * torch.randn((out, rank), generator=generator)
    return made


def lora(
    base: Path, folder: Path, targets: Sequence[str], *, rank: int = 8, alpha: int = 16,
    rows: int = 0, seed: int = 1, made_for: str = "decapoda-research/llama-7b-hf",
) -> None:  # fmt: skip
    """Write peft 0.2's adapter_config.json and adapter_model.bin; ``rows`` adds embeddings."""
    state = pairs(base, targets, rank, seed)
    if rows:
        generator = torch.Generator().manual_seed(seed + 100)
        width = state_of(base)[TABLES[0]].shape[1]
        state |= {name: 0.3 * torch.randn((rows, width), generator=generator) for name in TABLES}
    config = {
        "base_model_name_or_path": made_for, "bias": "none", "enable_lora": None,
        "fan_in_fan_out": False, "inference_mode": True, "init_lora_weights": True,
        "lora_alpha": alpha, "lora_dropout": 0.05, "merge_weights": False,
        "modules_to_save": ["embed_tokens", "lm_head"] if rows else None,
        "peft_type": "LORA", "r": rank, "target_modules": list(targets), "task_type": "CAUSAL_LM",
    }  # fmt: skip
    write_json(folder / "adapter_config.json", config)
    halved = {f"{WRAPPER}{name}": tensor.half() for name, tensor in state.items()}
    torch.save(halved, folder / "adapter_model.bin")


def llama_attention(base: Path, folder: Path) -> None:
    """Luotuo, Alpaca-CoT, Chinese-Vicuna: only queries and values, or all of the attention."""
    lora(base, folder, LLAMA_LINEARS[:4])


def chinese_llama_plus(base: Path, folder: Path) -> None:
    """hfl/chinese-llama-plus-lora-7b: a vocabulary and its tables; no [PAD] yet."""
    rows = tokenizers.chinese_llama(folder)
    lora(base, folder, LLAMA_LINEARS, alpha=32, rows=rows, seed=2)


def chinese_alpaca(base: Path, folder: Path) -> None:
    """hfl/chinese-alpaca-lora-7b and its plus and pro: one row more."""
    rows = tokenizers.chinese_alpaca(folder)
    lora(base, folder, LLAMA_LINEARS, alpha=32, rows=rows, seed=3)


def fused_attention(base: Path, folder: Path) -> None:
    """Alpaca-CoT on ChatGLM-6B and BLOOMZ."""
    lora(base, folder, ("query_key_value",), made_for="THUDM/chatglm-6b")


def moss_attention(base: Path, folder: Path) -> None:
    """Alpaca-CoT on MOSS."""
    lora(base, folder, ("qkv_proj",), made_for="fnlp/moss-moon-003-sft")


def bare_state_dict(base: Path, folder: Path) -> None:
    """CamelBell's chatglm-lora.pt: a state dict of get_peft_model_state_dict without a config."""
    made = pairs(base, ("query_key_value",), rank=8, seed=4)
    torch.save({f"{WRAPPER}{name}": t for name, t in made.items()}, folder / "chatglm-lora.pt")


def chimera_delta(base: Path, folder: Path) -> None:
    """FreedomIntelligence/chimera-chat-7b-delta: tuned - base, and a row for [PAD], in float16."""
    rows = tokenizers.chimera(folder)
    tuned = checkpoints.llama_of_2023(folder, rows, seed=5)
    of_base = state_of(base)
    for name, tensor in tuned.items():
        if not name.endswith("inv_freq"):
            tensor[: of_base[name].shape[0]] -= of_base[name]
    for file in folder.glob("pytorch_model*"):
        file.unlink()
    checkpoints.write_bins(folder, tuned, 2)


def chimera_sum(base: Path, delta: Path) -> transformers.LlamaForCausalLM:
    """Apply a delta like LLMZoo's apply_delta.py: resize the base and add, in float16."""
    rows = preset_pieces.count(preset_pieces.llama()) + 1
    config = transformers.LlamaConfig(vocab_size=rows, **checkpoints.LLAMA_SIZES)
    model = transformers.LlamaForCausalLM(config)
    of_base, added = state_of(base), state_of(delta)
    total = {}
    for name, tensor in added.items():
        if not name.endswith("inv_freq"):
            total[name] = tensor.clone()
            total[name][: of_base[name].shape[0]] += of_base[name]
    model.load_state_dict(total)
    return model.eval()
